//! Two real processes over PostgreSQL, killed again and again between lease and settle.
//!
//! What is told twice is only what was on its way when its sender was killed: nobody can know whether it had
//! arrived. Here it always has, so that each kill is one repetition, and never two.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio_postgres::NoTls;
use tracer_store::test_util::postgres::TestDatabase;

use super::fake_slack::{FakeSlack, Mood};

const KILLS: usize = 20;

struct Replica {
    process: Child,
    port: u16,
    config: PathBuf,
    url: String,
    client: reqwest::Client,
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Replica {
    async fn start(config: PathBuf, url: &str) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let process = spawn(port, &config, url);
        let client = tracer_alert::client_builder().unwrap().build().unwrap();
        let replica = Self { process, port, config, url: url.to_owned(), client };
        replica.is_ready().await;
        replica
    }

    /// Kills it as a machine that loses its power does, and starts it again.
    async fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(self.port, &self.config, &self.url);
        self.is_ready().await;
    }

    async fn is_ready(&self) {
        for _ in 0..600 {
            let answer = self.client.get(format!("http://127.0.0.1:{}/health/ready", self.port)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a replica does not get ready");
    }

    async fn post(&self, path: &str, body: serde_json::Value) -> serde_json::Value {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    }

    /// Makes an incident of a workflow of its own.
    async fn incident(&self, workflow: &str) {
        let started = self.post("/workflows", json!({"workflow_name": workflow})).await;
        let path = format!("/workflows/{}/steps", started["workflow_id"].as_str().unwrap());
        for millis in [100, 100, 100, 100, 100, 900] {
            self.post(&path, json!({"step_name": "load", "duration_ms": millis})).await;
        }
    }
}

fn spawn(port: u16, config: &PathBuf, url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["--set", "otlp.http_port=0", "--set", "otlp.grpc_port=0"])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--config"])
        .arg(config)
        .env("DATABASE_URL", url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns the process that has the channel leased.
async fn holder(database: &TestDatabase) -> u32 {
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let sql = "SELECT lease_holder FROM notification_channels WHERE channel = 'oncall'";
    let holder: String = client.query_one(sql, &[]).await.unwrap().get(0);
    connection.abort();
    let words: Vec<&str> = holder.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "pid").unwrap();
    words[at + 1].parse().unwrap()
}

/// Starts two replicas whose leases last so many seconds.
async fn two_replicas(database: &TestDatabase, slack: &FakeSlack, config: &Path, lease: u32) -> [Replica; 2] {
    let text = format!(
        "[alerts]\ngroup_wait = \"0s\"\nlease = \"{lease}s\"\n[limits]\nrate_per_second = 0\n[[channel]]\n\
         name = \"oncall\"\ntype = \"slack\"\nwebhook_url = \"{}/services/T/B/x\"\nrate_per_second = 100\n",
        slack.url
    );
    std::fs::write(config, text).unwrap();
    [
        Replica::start(config.to_owned(), database.url()).await,
        Replica::start(config.to_owned(), database.url()).await,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_all_live_tell_nothing_twice_however_much_there_is_to_tell() {
    let (database, slack) = (TestDatabase::create().await, FakeSlack::start());
    let folder = tempfile::tempdir().unwrap();
    // Longer than one delivery takes, and shorter than several.
    let replicas = two_replicas(&database, &slack, &folder.path().join("tracer.toml"), 1).await;
    slack.set(Mood::Slow);
    let names: Vec<String> = (0..16).map(|n| format!("workflow-number-{n:03}")).collect();
    for (n, name) in names.iter().enumerate() {
        replicas[n % 2].incident(name).await;
    }
    slack.wait_for("/x", names.len()).await;
    slack.set(Mood::Fine);
    // Another one comes after whatever else was there to come.
    replicas[0].incident("workflow-number-999").await;
    slack.wait_for("/x", names.len() + 1).await;
    let text = slack.calls().last().unwrap().body.to_string();
    assert!(text.contains("workflow-number-999"), "{text}");
    assert_eq!(slack.calls().len(), names.len() + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_only_what_was_on_its_way_is_told_twice() {
    let database = TestDatabase::create().await;
    let slack = FakeSlack::start();
    let folder = tempfile::tempdir().unwrap();
    // Longer than a busy machine makes a live holder wait.
    let mut replicas = two_replicas(&database, &slack, &folder.path().join("tracer.toml"), 3).await;
    let names: Vec<String> = (0..KILLS * 2).map(|n| format!("workflow-number-{n:03}")).collect();
    for (round, pair) in names.chunks(2).enumerate() {
        slack.set(Mood::Silent);
        let before = slack.calls().len();
        for (workflow, replica) in pair.iter().zip(&replicas) {
            replica.incident(workflow).await;
        }
        slack.wait_for_calls(before + 1).await;
        let pid = holder(&database).await;
        let killed = replicas.iter_mut().find(|replica| replica.process.id() == pid);
        killed.expect("one of them sends").kill_and_restart().await;
        slack.set(Mood::Fine);
        // The one that was on its way when its sender was killed comes again.
        slack.wait_for_calls(before + 3).await;
        assert!(slack.calls().len() <= before + 3, "round {round}: {:#?}", slack.calls());
    }
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for call in slack.calls() {
        let text = call.body.to_string();
        let name = names.iter().find(|name| text.contains(name.as_str())).expect("a known workflow");
        *told.entry(name).or_default() += 1;
    }
    let twice = told.values().filter(|times| **times == 2).count();
    println!("{} incidents, {KILLS} kills, told twice: {twice}", names.len());
    assert_eq!((told.len(), twice), (names.len(), KILLS));
    assert!(told.values().all(|times| *times <= 2), "{told:#?}");
}
