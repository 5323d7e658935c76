//! The workload of the original contract: start an execution, start and complete its steps, end it.
//!
//! With the usual three steps these are eight requests, each a durable write: of one execution and
//! three steps, all written twice.

use std::io::Write as _;

use crate::script::{Script, find_id, with_body};

/// Names of workflows that the clients share, unless others are asked for.
pub(crate) const WORKFLOWS: usize = 16;

/// New rows per request: four in eight.
pub(crate) const ROWS_PER_REQUEST: f64 = 0.5;

/// The name of completing a step among the operations.
pub(crate) const COMPLETE: &str = "PUT step";

/// The usual steps.
const STEPS: [&str; 3] = ["extract", "transform", "load"];

/// One client of the original contract.
#[derive(Debug)]
pub(crate) struct Contract {
    start: Vec<u8>,
    steps: Vec<Vec<u8>>,
    execution: Vec<u8>,
    step: Vec<u8>,
    body: Vec<u8>,
    /// Which request of the execution comes next.
    next: usize,
    /// Executions yet to start.
    left: u64,
    /// Which workflow comes next; the same one always if none.
    turns: Option<Turns>,
    /// Makes durations differ, as real ones do.
    noise: u32,
}

/// Goes through workflows, so that all clients together run each of them equally often.
#[derive(Debug)]
struct Turns {
    next: usize,
    stride: usize,
    workflows: usize,
}

impl Contract {
    /// Makes the client of this number, which goes on without end.
    pub(crate) fn new(number: usize) -> Self {
        let noise = u32::try_from(number).unwrap_or(0).wrapping_mul(2_654_435_761);
        Self { noise, ..Self::of(&format!("bench-{}", number % WORKFLOWS), &STEPS, u64::MAX) }
    }

    /// As [`Contract::new`], for one of `clients` that run so many workflows in turns.
    pub(crate) fn among(number: usize, clients: usize, workflows: usize) -> Self {
        Self { turns: Some(Turns { next: number, stride: clients, workflows }), ..Self::new(number) }
    }

    /// Makes a client that runs so many executions of one workflow, with these steps.
    pub(crate) fn of(workflow: &str, steps: &[&str], executions: u64) -> Self {
        Self {
            start: format!(r#"{{"workflow_name":"{workflow}"}}"#).into_bytes(),
            steps: steps.iter().map(|name| format!(r#"{{"step_name":"{name}"}}"#).into_bytes()).collect(),
            execution: Vec::new(),
            step: Vec::new(),
            body: Vec::new(),
            next: 0,
            left: executions,
            turns: None,
            noise: 1,
        }
    }

    /// Returns the number of the request that ends an execution.
    fn last(&self) -> usize {
        self.steps.len() * 2 + 1
    }

    /// Returns a duration between 80 and 120 ms.
    fn duration(&mut self) -> u32 {
        // The constants of Numerical Recipes' quick generator; its high bits are good enough.
        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        80 + (self.noise >> 16) % 41
    }
}

impl Script for Contract {
    const OPERATIONS: &'static [&'static str] = &["POST workflow", "POST step", COMPLETE, "PUT workflow"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        match self.next {
            0 => {
                self.left = self.left.checked_sub(1)?;
                if let Some(turns) = &mut self.turns {
                    let workflow = turns.next % turns.workflows.max(1);
                    turns.next += turns.stride;
                    self.start = format!(r#"{{"workflow_name":"bench-{workflow}"}}"#).into_bytes();
                }
                with_body(out, "POST", &[b"/workflows"], &self.start);
                Some(0)
            }
            last if last == self.last() => {
                with_body(out, "PUT", &[b"/workflows/", &self.execution], br#"{"status":"completed"}"#);
                Some(3)
            }
            odd if odd % 2 == 1 => {
                let step = self.steps.get(odd / 2).map(Vec::as_slice).unwrap_or_default();
                with_body(out, "POST", &[b"/workflows/", &self.execution, b"/steps"], step);
                Some(1)
            }
            _ => {
                let duration = self.duration();
                self.body.clear();
                // Writing into memory does not fail.
                let _written = write!(self.body, r#"{{"status":"completed","duration_ms":{duration}}}"#);
                let path: [&[u8]; 4] = [b"/workflows/", &self.execution, b"/steps/", &self.step];
                with_body(out, "PUT", &path, &self.body);
                Some(2)
            }
        }
    }

    fn take(&mut self, status: u16, body: &[u8]) -> bool {
        let expected = match self.next {
            0 => status == 201 && find_id(body, br#""workflow_id":""#, &mut self.execution),
            last if last == self.last() => status == 200,
            odd if odd % 2 == 1 => status == 201 && find_id(body, br#""step_id":""#, &mut self.step),
            _ => status == 200,
        };
        self.next = if expected { (self.next + 1) % (self.last() + 1) } else { 0 };
        expected
    }

    fn lost(&mut self) {
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(client: &mut Contract) -> String {
        let mut out = Vec::new();
        client.write_next(&mut out).unwrap();
        String::from_utf8(out).unwrap().lines().next().unwrap().to_owned()
    }

    #[test]
    fn clients_go_through_all_workflows_in_turns() {
        let names = |number| {
            let mut client = Contract::among(number, 2, 5);
            let mut next = || {
                let mut out = Vec::new();
                client.next = 0;
                client.write_next(&mut out).unwrap();
                let text = String::from_utf8(out).unwrap();
                text.split("bench-").nth(1).unwrap().trim_end_matches("\"}").to_owned()
            };
            [next(), next(), next()].join(" ")
        };
        assert_eq!([names(0), names(1)], ["0 2 4", "1 3 0"]);
    }

    #[test]
    fn an_execution_is_eight_requests_in_the_order_of_the_contract() {
        let mut client = Contract::new(3);
        let mut seen = Vec::new();
        for round in 0..8 {
            seen.push(first_line(&mut client));
            let (status, body) = match round {
                0 => (201, r#"{"workflow_id":"wf_a"}"#),
                1 | 3 | 5 => (201, r#"{"step_id":"st_b"}"#),
                _ => (200, "{}"),
            };
            assert!(client.take(status, body.as_bytes()), "{round}");
        }
        assert_eq!(seen[0], "POST /workflows HTTP/1.1");
        assert_eq!(seen[1], "POST /workflows/wf_a/steps HTTP/1.1");
        assert_eq!(seen[6], "PUT /workflows/wf_a/steps/st_b HTTP/1.1");
        assert_eq!(seen[7], "PUT /workflows/wf_a HTTP/1.1");
        assert_eq!(first_line(&mut client), seen[0]);
    }

    #[test]
    fn a_client_of_so_many_executions_ends_after_them() {
        let mut client = Contract::of("w", &["s"], 1);
        for (status, body) in
            [(201, r#"{"workflow_id":"wf_a"}"#), (201, r#"{"step_id":"st_b"}"#), (200, "{}"), (200, "{}")]
        {
            assert!(client.write_next(&mut Vec::new()).is_some());
            assert!(client.take(status, body.as_bytes()));
        }
        assert_eq!(client.write_next(&mut Vec::new()), None);
    }

    #[test]
    fn another_answer_than_the_expected_begins_a_new_execution() {
        let mut client = Contract::new(0);
        assert!(client.take(201, br#"{"workflow_id":"wf_a"}"#));
        assert!(!client.take(503, b"{}"));
        assert_eq!(first_line(&mut client), "POST /workflows HTTP/1.1");
        assert!(!client.take(201, b"without an id"));
    }
}
