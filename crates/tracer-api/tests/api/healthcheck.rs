//! `tracer healthcheck` against a service: the exit code and the line that a container engine keeps.

use std::net::TcpListener;
use std::process::Command;

use super::helpers::start;

/// Runs the program in a folder without settings; returns its exit code and its line.
async fn check(arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracer"));
    // What is asked is the service, whatever proxy there is.
    command.current_dir(&folder).env("http_proxy", "http://127.0.0.1:9").arg("healthcheck").args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_ready_is_well_and_one_that_stops_only_lives() {
    let service = start().await;
    let (listen, url) = (service.address.to_string(), format!("http://{}", service.address));
    let ready = (0, format!("{url}/health/ready answers 200\n"));
    assert_eq!(check(&["--listen", &listen]).await, ready);
    let everywhere = format!(":{}", service.address.port());
    assert_eq!(check(&["--listen", &everywhere]).await, ready);
    assert_eq!(check(&["--url", &format!("{url}/")]).await, ready);
    service.stopping.cancel();
    let stopping = format!("tracer: {url}/health/ready answers 503: The service is stopping.\n");
    assert_eq!(check(&["--listen", &listen]).await, (1, stopping));
    assert_eq!(
        check(&["--listen", &listen, "--live"]).await,
        (0, format!("{url}/health/live answers 200\n"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_answers_is_not_well() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It takes the connection and says nothing.
    let silent = format!("tracer: http://{address} does not answer within 3 s\n");
    assert_eq!(check(&["--listen", &address.to_string()]).await, (1, silent));
    drop(listener);
    let away = format!("tracer: http://{address} cannot be reached\n");
    assert_eq!(check(&["--listen", &address.to_string()]).await, (1, away));
    let (code, said) = check(&["--url", "nonsense"]).await;
    assert_eq!(
        (code, said.as_str()),
        (1, "tracer: nonsense is not an address such as http://127.0.0.1:8000\n")
    );
}
