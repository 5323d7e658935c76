//! `GET /ws`: the same changes over a WebSocket, with a client written by hand.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::helpers::{Service, start, start_with};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

struct Socket(TcpStream);

impl Socket {
    async fn on(service: &Service, query: &str) -> Self {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        let request = format!(
            "GET /ws{query} HTTP/1.1\r\nhost: tracer\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        // The accepted key is that of RFC 6455, section 1.3.
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    /// Returns the next frame: what kind it is, and what it holds.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let length = match self.0.read_u8().await.unwrap() {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.unwrap();
        Some((first & 0x0f, payload))
    }

    async fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        // Masked, as a client's frames must be, with a mask of zeros.
        let head = [0x80 | kind, 0x80 | length, 0, 0, 0, 0];
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    /// Returns the next change; pings are answered.
    async fn change(&mut self) -> Value {
        loop {
            match self.frame().await.unwrap() {
                (TEXT, text) => return serde_json::from_slice(&text).unwrap(),
                (PING, payload) => self.send(PONG, &payload).await,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn changes_are_heard_filtered_and_gone_on_with() {
    let service = start().await;
    let mut all = Socket::on(&service, "").await;
    let mut ends = Socket::on(&service, "?kind=workflow_end&workflow_name=etl").await;
    let execution = service.execution("etl").await;
    service.took(&execution, "load", 5).await;
    service.put(&execution, json!({})).await.expect(200);
    let heard = [all.change().await, all.change().await, all.change().await];
    let kinds: Vec<&str> = heard.iter().map(|change| change["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["workflow_start", "step_complete", "workflow_end"]);
    assert_eq!(ends.change().await, heard[2]);
    let query = format!("?last_event_id={}", heard[0]["id"].as_str().unwrap());
    let mut again = Socket::on(&service, &query).await;
    assert_eq!([again.change().await, again.change().await], [heard[1].clone(), heard[2].clone()]);
    let mut lost = Socket::on(&service, "?last_event_id=1-0").await;
    assert_eq!(lost.change().await["kind"], "resync");
}

#[tokio::test]
async fn both_sides_may_ask_for_a_sign_of_life() {
    let service = start_with(|settings| settings.live.heartbeat = Duration::from_millis(500)).await;
    let mut socket = Socket::on(&service, "").await;
    let (mut pings, mut answered) = (0, false);
    socket.send(PING, b"there?").await;
    while pings < 4 || !answered {
        match socket.frame().await.unwrap() {
            (PING, payload) => {
                socket.send(PONG, &payload).await;
                pings += 1;
            }
            (PONG, payload) => answered = payload == b"there?",
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_gives_no_sign_of_life_is_let_go() {
    let service = start_with(|settings| settings.live.heartbeat = Duration::from_millis(20)).await;
    let mut socket = Socket::on(&service, "").await;
    let closed = loop {
        match socket.frame().await.unwrap() {
            (PING, _) => {}
            other => break other,
        }
    };
    // 1008: policy violation.
    assert_eq!(closed, (CLOSE, vec![0x03, 0xf0]));
}

#[tokio::test]
async fn a_client_may_leave_and_a_service_that_stops_says_so() {
    let service = start().await;
    let mut leaving = Socket::on(&service, "").await;
    leaving.send(CLOSE, &[0x03, 0xe8]).await;
    let (kind, code) = loop {
        match leaving.frame().await.unwrap() {
            (PING, _) => {}
            other => break other,
        }
    };
    assert_eq!((kind, code), (CLOSE, vec![0x03, 0xe8]));
    let mut staying = Socket::on(&service, "").await;
    service.stopping.cancel();
    let closed = loop {
        match staying.frame().await.unwrap() {
            (PING, _) => {}
            other => break other,
        }
    };
    // 1001: going away.
    assert_eq!(closed, (CLOSE, vec![0x03, 0xe9]));
}
