//! The contract, on each store: the embedded one in memory and in a file, and PostgreSQL.

use std::sync::Arc;

use tracer_core::detect::Policy;
use tracer_core::test_util::FakeClock;
use tracer_core::test_util::contract::Store;
use tracer_store::test_util::postgres::TestDatabase;
use tracer_store::{Location, StoreConfig};

async fn open_in_memory(clock: Arc<FakeClock>, policy: Arc<Policy>) -> Store {
    let config = StoreConfig { clock: Some(clock), ..StoreConfig::at(Location::Memory) };
    Store::new(tracer_store::open(&config, policy).await.expect("a store in memory"))
}

async fn open_in_a_file(clock: Arc<FakeClock>, policy: Arc<Policy>) -> Store {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Embedded(folder.path().join("data").join("tracer.db"));
    let config = StoreConfig { clock: Some(clock), ..StoreConfig::at(location) };
    Store::keeping(tracer_store::open(&config, policy).await.expect("a store in a file"), folder)
}

async fn open_postgres(clock: Arc<FakeClock>, policy: Arc<Policy>) -> Store {
    let database = TestDatabase::create().await;
    let location = Location::Postgres(database.url().to_owned());
    // Few connections: the tests run side by side against one server.
    let config = StoreConfig { clock: Some(clock), pool_size: 4, ..StoreConfig::at(location) };
    Store::keeping(tracer_store::open(&config, policy).await.expect("a store in PostgreSQL"), database)
}

tracer_core::contract_tests!(memory, open_in_memory);
tracer_core::contract_tests!(embedded, open_in_a_file);
tracer_core::contract_tests!(postgres, open_postgres);
