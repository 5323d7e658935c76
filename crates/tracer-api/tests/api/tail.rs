//! `tracer tail` against a service.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::json;

use super::helpers::{Service, start};

/// The program, ended with the test.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tail(service: &Service, arguments: &[&str]) -> (Tail, Receiver<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["tail", "--url", &format!("http://{}", service.address)])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (lines, read) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    (Tail(child), read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_printed_a_line_each_without_colours_where_nobody_sees_them() {
    let service = start().await;
    let (_tail, lines) = tail(&service, &["--workflow", "nightly etl", "--kind", "workflow_end,event"]);
    // Until it listens, what happens is not its business.
    let first = loop {
        let other = service.execution("other").await;
        service.put(&other, json!({})).await.expect(200);
        let execution = service.execution("nightly etl").await;
        service.put(&execution, json!({"error": "no rows"})).await.expect(200);
        if let Ok(line) = lines.recv_timeout(Duration::from_millis(100)) {
            break line;
        }
    };
    let (time, rest) = first.split_once(' ').unwrap();
    assert_eq!(time, "12:00:00.000");
    let (before, after) = rest.split_once("nightly etl ").unwrap();
    assert_eq!(before.trim_end(), "ended");
    assert_eq!(after.split_once(' ').unwrap().1, "failed in 0 ms, 0 steps: no rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_refuses_ends_it() {
    let service = start().await;
    let (mut tail, _lines) = tail(&service, &["--kind", "everything"]);
    assert_eq!(tail.0.wait().unwrap().code(), Some(1));
}
