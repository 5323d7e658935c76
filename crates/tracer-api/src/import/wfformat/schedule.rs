//! When an execution and its steps started.
//!
//! Invariant: no step starts before all of its parents have ended, or before the execution.

use tracer_core::time::{Micros, Timestamp};

use super::node::{Fault, Problem};
use super::task::Task;

/// Reads `executedAt`, which the format leaves to whoever writes it.
///
/// Known forms: ISO 8601 in its long and short form with any offset, and month-day-year with two
/// digits each. A time without an offset is taken as UTC.
pub(super) fn executed_at(text: &str) -> Result<Timestamp, Problem> {
    let year_first = year_first(text);
    let text = year_first.as_deref().unwrap_or(text);
    let instant: jiff::Timestamp =
        text.parse().or_else(|_| format!("{text}Z").parse()).map_err(|_| Problem::NotTime)?;
    let instant = Timestamp::from_micros(instant.as_microsecond());
    if instant.as_micros() < 0 { Err(Problem::BeforeEpoch) } else { Ok(instant) }
}

/// Turns `12-19-20T21:31:53Z` into `2020-12-19T21:31:53Z`: the format is younger than the century.
fn year_first(text: &str) -> Option<String> {
    let (date, time) = text.split_once('T')?;
    let parts: Vec<&str> = date.split('-').collect();
    let [month, day, year] = parts.as_slice() else { return None };
    let two_digits = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.iter().all(two_digits).then(|| format!("20{year}-{month}-{day}T{time}"))
}

/// Returns how long after the execution each task started, in the order of the tasks.
///
/// Takes every task once its parents are done (Kahn's algorithm), so that the work is linear in the
/// number of tasks and dependencies.
pub(super) fn offsets(tasks: &[Task<'_>]) -> Result<Vec<Micros>, Fault> {
    let mut children = vec![Vec::new(); tasks.len()];
    let mut open_parents = Vec::with_capacity(tasks.len());
    let mut ready = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        open_parents.push(task.parents.len());
        if task.parents.is_empty() {
            ready.push(index);
        }
        for &parent in &task.parents {
            if let Some(siblings) = children.get_mut(parent) {
                siblings.push(index);
            }
        }
    }

    let mut offsets = vec![Micros::ZERO; tasks.len()];
    let mut done = 0;
    while let Some(index) = ready.pop() {
        let (Some(task), Some(&offset)) = (tasks.get(index), offsets.get(index)) else { continue };
        let end = offset.saturating_add(task.duration);
        end.within_bounds().map_err(|_| task.node.fault(Problem::EndsTooLate))?;
        done += 1;
        for &child in children.get(index).into_iter().flatten() {
            if let (Some(start), Some(open)) = (offsets.get_mut(child), open_parents.get_mut(child)) {
                *start = end.max(*start);
                *open -= 1;
                if *open == 0 {
                    ready.push(child);
                }
            }
        }
    }
    if done == tasks.len() { Ok(offsets) } else { Err(cycle(tasks, &open_parents)) }
}

/// Names a task on a cycle, rather than one that merely waits behind it.
///
/// Every task left has a parent left; whoever walks up that way long enough stands on a cycle.
fn cycle(tasks: &[Task<'_>], open_parents: &[usize]) -> Fault {
    let is_left = |index: usize| open_parents.get(index).is_some_and(|&open| open > 0);
    let mut index = (0..tasks.len()).find(|&index| is_left(index)).unwrap_or_default();
    for _ in 0..tasks.len() {
        let parents = tasks.get(index).map_or(&[][..], |task| &task.parents);
        index = parents.iter().copied().find(|&parent| is_left(parent)).unwrap_or(index);
    }
    match tasks.get(index) {
        Some(task) => task.node.fault(Problem::Cycle),
        None => Fault { path: "$.workflow".to_owned(), problem: Problem::Cycle },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_an_execution_is_read_in_every_form_that_occurs() {
        let shown = |text: &str| executed_at(text).map(|time| time.to_string());
        for text in [
            "2020-12-19T21:31:53Z",
            "2020-12-19T21:31:53+00:00",
            "2020-12-19T11:31:53-10:00",
            "2020-12-19T21:31:53.000Z",
            "2020-12-19T21:31:53",
            "20201219T213153Z",
            "20201219T213153+0000",
            "20201219T223153+0100",
            "12-19-20T21:31:53Z",
            "12-19-20T23:31:53+02:00",
        ] {
            assert_eq!(shown(text), Ok("2020-12-19T21:31:53.000Z".to_owned()), "{text}");
        }
        for text in ["", "T", "yesterday", "19-12-20T21:31:53Z", "2020-12-19", "1608413513"] {
            assert_eq!(shown(text), Err(Problem::NotTime), "{text}");
        }
        assert_eq!(shown("1969-12-31T23:59:59Z"), Err(Problem::BeforeEpoch));
    }
}
