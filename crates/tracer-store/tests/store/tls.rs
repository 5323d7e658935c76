//! TLS to PostgreSQL: what each `sslmode` accepts of a server.
//!
//! The certificates are made anew for each run: an authority, a server named `localhost`, and an authority that has
//! nothing to do with them.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_postgres::{Client, NoTls};
use tracer_core::detect::Policy;
use tracer_core::repository::Repository;
use tracer_store::test_util::postgres::PrivateServer;
use tracer_store::{Location, OpenError, StoreConfig};

/// Writes a file in the server's data folder, as the server: it insists that its key is its own.
async fn write(admin: &Client, file: &str, text: &str) {
    let lines: Vec<String> = text.lines().map(|line| format!("('{line}')")).collect();
    let folder = "SELECT current_setting('data_directory')";
    let folder: String = admin.query_one(folder, &[]).await.expect("a folder").get(0);
    let copy = format!("COPY (VALUES {}) TO PROGRAM 'umask 077; cat > {folder}/{file}'", lines.join(", "));
    admin.batch_execute(&copy).await.expect("written");
}

/// An authority: its certificate in PEM, and with what it signs.
fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), Issuer::new(params, key))
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

async fn server_with_tls(issuer: &Issuer<'static, KeyPair>) -> (PrivateServer, Client) {
    let server = PrivateServer::start();
    let (admin, connection) =
        tokio_postgres::connect(&server.url("postgres"), NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let key = KeyPair::generate().expect("a key");
    let certificate = named("server", &["localhost"]).signed_by(&key, issuer).expect("a certificate");
    write(&admin, "server.crt", &certificate.pem()).await;
    write(&admin, "server.key", &key.serialize_pem()).await;
    admin.batch_execute("ALTER SYSTEM SET ssl = on").await.expect("set");
    admin.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    // The server reads its settings when it gets to it; a new connection is told what they are.
    while !offers_tls(&server).await {
        tokio::task::yield_now().await;
    }
    (server, admin)
}

async fn offers_tls(server: &PrivateServer) -> bool {
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client.query_one("SHOW ssl", &[]).await.expect("a setting").get::<_, &str>(0) == "on"
}

async fn open(url: &str) -> Result<Arc<dyn Repository>, OpenError> {
    let config = StoreConfig { pool_size: 2, ..StoreConfig::at(Location::Postgres(url.to_owned())) };
    tracer_store::open(&config, Arc::new(Policy::default())).await
}

/// Returns what becomes of opening the store so: `tls`, `plain`, or `refused`.
async fn opened(server: &PrivateServer, admin: &Client, host: &str, parameters: &str) -> &'static str {
    let url = server.url("postgres");
    let (base, given) = url.split_once('?').map_or((url.as_str(), ""), |(base, given)| (base, given));
    let url = format!("{}?{given}&{parameters}", base.replace("127.0.0.1", host)).replace("?&", "?");
    let Ok(store) = open(&url).await else { return "refused" };
    store.ping().await.expect("a sign of life");
    let all = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                WHERE application_name = 'tracer' AND state IS NOT NULL";
    let protected: bool = admin.query_one(all, &[]).await.expect("an answer").get(0);
    drop(store);
    // What was opened before must not be looked at again.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tracer'";
    while admin.query_one(left, &[]).await.expect("an answer").get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    if protected { "tls" } else { "plain" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sslmode_asks_for_what_it_says() {
    let (ours, issuer) = authority("authority");
    let (strange, _) = authority("stranger");
    let (server, admin) = server_with_tls(&issuer).await;
    let folder = tempfile::tempdir().expect("a folder");
    let root = |name: &str, certificate: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, certificate).expect("written");
        format!("sslrootcert={}", file.display())
    };
    let (ours, strange) = (root("ours.pem", &ours), root("strange.pem", &strange));
    for (host, parameters, expected) in [
        ("localhost", "sslmode=disable".to_owned(), "plain"),
        ("localhost", "sslmode=prefer".to_owned(), "tls"),
        ("localhost", "sslmode=require".to_owned(), "tls"),
        ("localhost", format!("sslmode=require&{strange}"), "refused"),
        ("localhost", "sslmode=verify-ca".to_owned(), "refused"),
        ("127.0.0.1", format!("sslmode=verify-ca&{ours}"), "tls"),
        ("127.0.0.1", format!("sslmode=verify-ca&{strange}"), "refused"),
        ("localhost", format!("sslmode=verify-full&{ours}"), "tls"),
        ("127.0.0.1", format!("sslmode=verify-full&{ours}"), "refused"),
        ("localhost", format!("sslmode=verify-full&{strange}"), "refused"),
    ] {
        assert_eq!(opened(&server, &admin, host, &parameters).await, expected, "{host} {parameters}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_at_the_server_only_modes_that_do_not_need_it_open() {
    let server = PrivateServer::start();
    let (admin, connection) =
        tokio_postgres::connect(&server.url("postgres"), NoTls).await.expect("a connection");
    tokio::spawn(connection);
    for (parameters, expected) in [("sslmode=prefer", "plain"), ("sslmode=require", "refused")] {
        assert_eq!(opened(&server, &admin, "127.0.0.1", parameters).await, expected, "{parameters}");
    }
}
