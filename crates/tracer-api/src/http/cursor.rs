//! Cursors: where the next page of a listing begins.
//!
//! To a client they are opaque. Inside, a letter says which listing they belong to, so that one is not
//! taken for another's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tracer_core::failures::GroupCursor;
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::incident::IncidentId;
use tracer_core::name::WorkflowName;
use tracer_core::repository::{ExecutionCursor, StepCursor};
use tracer_core::similarity::FailureId;
use tracer_core::time::Timestamp;

use crate::error::ApiError;

/// The last microsecond of year 9999: no listing holds a later time, and no store is asked for one.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// A place in a listing that a cursor can name.
pub(crate) trait Place: Sized {
    /// Says which listing it is.
    const LISTING: u8;

    /// Writes the place as bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// Reads the bytes; none if they are no place in this listing.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// Writes a cursor.
pub(crate) fn write<P: Place>(place: &P) -> String {
    let mut bytes = vec![P::LISTING];
    bytes.extend(place.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor; none where none is given.
///
/// # Errors
/// 400 on what this listing never wrote.
pub(crate) fn read<P: Place>(cursor: Option<&str>) -> Result<Option<P>, ApiError> {
    let Some(cursor) = cursor else { return Ok(None) };
    let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| {
        let (listing, place) = bytes.split_first()?;
        if *listing == P::LISTING { P::from_bytes(place) } else { None }
    });
    let unknown = || ApiError::bad_request("The query's cursor is none that this listing gave.");
    place.map(Some).ok_or_else(unknown)
}

/// Returns a page and where the next one begins, of rows of which one more than `limit` was asked for.
pub(crate) fn page<R, P: Place>(
    mut rows: Vec<R>,
    limit: usize,
    place: impl Fn(&R) -> P,
) -> (Vec<R>, Option<String>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| write(&place(last)));
    (rows, next)
}

/// Returns the time that a cursor holds; none where nothing recorded can have it.
fn time_of(bytes: [u8; 8]) -> Option<Timestamp> {
    let micros = i64::from_be_bytes(bytes);
    (0..=LAST_MICROS).contains(&micros).then_some(Timestamp::from_micros(micros))
}

impl Place for ExecutionCursor {
    const LISTING: u8 = b'e';

    fn to_bytes(&self) -> Vec<u8> {
        [&self.started_at.as_micros().to_be_bytes()[..], &self.id.to_bytes()[..]].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_first_chunk()?;
        let id = ExecutionId::from_u128(u128::from_be_bytes(id.try_into().ok()?))?;
        Some(Self { started_at: time_of(*time)?, id })
    }
}

impl Place for StepCursor {
    const LISTING: u8 = b's';

    fn to_bytes(&self) -> Vec<u8> {
        [self.started_at.as_micros().to_be_bytes(), self.id.as_u64().to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_first_chunk()?;
        let id = StepId::from_u64(u64::from_be_bytes(id.try_into().ok()?))?;
        Some(Self { started_at: time_of(*time)?, id })
    }
}

impl Place for GroupCursor {
    const LISTING: u8 = b'f';

    fn to_bytes(&self) -> Vec<u8> {
        [&self.last_seen_at.as_micros().to_be_bytes()[..], &self.id.to_bytes()[..]].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_first_chunk()?;
        Some(Self { last_seen_at: time_of(*time)?, id: FailureId::from_bytes(id.try_into().ok()?) })
    }
}

impl Place for IncidentId {
    const LISTING: u8 = b'i';

    fn to_bytes(&self) -> Vec<u8> {
        Self::to_bytes(*self).to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }
}

impl Place for WorkflowName {
    const LISTING: u8 = b'w';

    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_belongs_to_one_listing() {
        let name = WorkflowName::new("a/b ü").unwrap();
        let cursor = write(&name);
        assert_eq!(read(Some(&cursor)).unwrap(), Some(name));
        assert!(read::<StepCursor>(Some(&cursor)).is_err());
        assert!(read::<StepCursor>(Some("")).is_err());
        assert!(read::<StepCursor>(None).unwrap().is_none());
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let name = |text: &&str| WorkflowName::new(text).unwrap();
        assert_eq!(page(vec!["a", "b"], 2, name), (vec!["a", "b"], None));
        assert_eq!(page(vec!["a", "b", "c"], 2, name), (vec!["a", "b"], Some(write(&name(&"b")))));
        assert_eq!(page(Vec::new(), 2, name), (Vec::new(), None));
    }

    #[test]
    fn a_time_that_nothing_recorded_can_have_is_no_place() {
        for micros in [i64::MIN, -1, LAST_MICROS + 1, i64::MAX] {
            let started_at = Timestamp::from_micros(micros);
            let place = ExecutionCursor { started_at, id: ExecutionId::from_u128(1).unwrap() };
            assert!(read::<ExecutionCursor>(Some(&write(&place))).is_err(), "{micros}");
            let place = StepCursor { started_at, id: StepId::from_u64(1).unwrap() };
            assert!(read::<StepCursor>(Some(&write(&place))).is_err(), "{micros}");
        }
    }

    proptest! {
        #[test]
        fn every_place_survives_being_written_and_read(at in 0..=LAST_MICROS, execution in 1u128.., step in 1u64..) {
            let started_at = Timestamp::from_micros(at);
            let place = ExecutionCursor { started_at, id: ExecutionId::from_u128(execution).unwrap() };
            prop_assert_eq!(read(Some(&write(&place))).unwrap(), Some(place));
            let place = StepCursor { started_at, id: StepId::from_u64(step).unwrap() };
            prop_assert_eq!(read(Some(&write(&place))).unwrap(), Some(place));
            let place = GroupCursor { last_seen_at: started_at, id: FailureId::from_bytes(execution.to_be_bytes()) };
            prop_assert_eq!(read(Some(&write(&place))).unwrap(), Some(place));
            let place = IncidentId::from_bytes(execution.to_be_bytes());
            prop_assert_eq!(read(Some(&write(&place))).unwrap(), Some(place));
        }

        #[test]
        fn no_text_makes_reading_panic(text in ".{0,80}") {
            drop((read::<ExecutionCursor>(Some(&text)), read::<StepCursor>(Some(&text))));
        }
    }
}
