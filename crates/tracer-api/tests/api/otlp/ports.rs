//! The ports of OTLP, with the binary as it is started.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when it is dropped.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn tracer(folder: &Path, listen: u16, http: u16, grpc: u16) -> Tracer {
    let sets = [format!("otlp.http_port={http}"), format!("otlp.grpc_port={grpc}")];
    let child = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["--listen", &format!("127.0.0.1:{listen}")])
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    Tracer(child.unwrap())
}

async fn status(url: &str, method: reqwest::Method) -> Option<u16> {
    let client = tracer_alert::client_builder().unwrap().build().unwrap();
    let request = client.request(method, url).header("content-type", "application/x-protobuf");
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

async fn is_ready(listen: u16) {
    let begun = Instant::now();
    while status(&format!("http://127.0.0.1:{listen}/health/ready"), reqwest::Method::GET).await != Some(200)
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "the service does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_port_of_otlp_receives_otlp_alone_and_is_refused_where_it_is_taken() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [listen, http, grpc, elsewhere] = std::array::from_fn(|_| free_port());
    let _first = tracer(one.path(), listen, http, grpc);
    is_ready(listen).await;
    let at = |port: u16, path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(status(&at(http, "/v1/traces"), reqwest::Method::POST).await, Some(200));
    assert_eq!(status(&at(listen, "/v1/traces"), reqwest::Method::POST).await, Some(200));
    assert_eq!(status(&at(http, "/workflows"), reqwest::Method::GET).await, Some(404));
    assert_eq!(status(&at(listen, "/workflows"), reqwest::Method::GET).await, Some(200));
    let mut second = tracer(other.path(), elsewhere, http, 0);
    assert_eq!(second.0.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    second.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let expected = format!("cannot listen on port {http}, which otlp.http_port sets");
    assert!(said.contains(&expected), "{said}");
}
