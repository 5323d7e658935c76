//! What a client asks, one request after the other.
//!
//! Not here: how requests travel (`connection`, `load`).

use std::io::Write as _;

/// The requests of one client, each written when the answer to the one before is known.
pub(crate) trait Script {
    /// What is asked, by name; other methods speak of these by index.
    const OPERATIONS: &'static [&'static str];

    /// Writes the next request and returns which operation it is; none ends the client.
    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize>;

    /// Takes the answer; returns whether it is the expected one. After another one the script begins
    /// where it begins.
    fn take(&mut self, status: u16, body: &[u8]) -> bool;

    /// Says that the last request will not be answered.
    fn lost(&mut self) {}
}

/// Asks for the same path over and over, at most so many times.
#[derive(Debug)]
pub(crate) struct Repeat {
    request: Vec<u8>,
    left: u64,
}

impl Repeat {
    /// Asks so many times.
    pub(crate) fn times(path: &str, left: u64) -> Self {
        Self { request: get(path), left }
    }
}

impl Script for Repeat {
    const OPERATIONS: &'static [&'static str] = &["GET"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        out.extend_from_slice(&self.request);
        Some(0)
    }

    fn take(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

/// Sends the same small body over and over.
#[derive(Debug)]
pub(crate) struct Posting;

impl Script for Posting {
    const OPERATIONS: &'static [&'static str] = &["PUT"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        with_body(out, "PUT", &[b"/workflows/constant"], br#"{"status":"completed","duration_ms":100}"#);
        Some(0)
    }

    fn take(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

/// Returns a request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

/// Writes a request with a JSON body; the path comes in parts.
pub(crate) fn with_body(out: &mut Vec<u8>, method: &str, path: &[&[u8]], body: &[u8]) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    for part in path {
        out.extend_from_slice(part);
    }
    // Writing into memory does not fail.
    let _written = write!(
        out,
        " HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(body);
}

/// Takes the text behind `mark`, which ends before a quote, into `id`; returns whether there is one.
pub(crate) fn find_id(body: &[u8], mark: &[u8], id: &mut Vec<u8>) -> bool {
    let found = body.windows(mark.len()).position(|window| window == mark);
    let rest = found.and_then(|at| body.get(at + mark.len()..)).unwrap_or_default();
    let Some(text) = rest.split(|byte| *byte == b'"').next().filter(|text| !text.is_empty()) else {
        return false;
    };
    id.clear();
    id.extend_from_slice(text);
    true
}

#[cfg(test)]
mod tests {
    use super::{find_id, with_body};

    #[test]
    fn an_id_is_found_behind_its_mark_and_nowhere_else() {
        let body = br#"{"step_id":"st_1","workflow_id":"wf_2"}"#;
        let mut id = Vec::new();
        assert!(find_id(body, br#""workflow_id":""#, &mut id));
        assert_eq!(id, b"wf_2");
        assert!(!find_id(body, br#""execution_id":""#, &mut id));
        assert!(!find_id(b"", br#""workflow_id":""#, &mut id));
        assert_eq!(id, b"wf_2");
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let mut out = Vec::new();
        with_body(&mut out, "PUT", &[b"/workflows/", b"wf_1"], b"{}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "PUT /workflows/wf_1 HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             content-length: 2\r\n\r\n{}"
        );
    }
}
