//! The memory that exports may take while they are read and recorded.
//!
//! Invariant: what is reserved is given back, whatever becomes of the export.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes that all exports take together, from the first byte of each until it is durable.
pub const ROOM_BYTES: usize = 512 * 1024 * 1024;

/// There is no room left: others have to be done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Memory that is shared by exports.
#[derive(Debug)]
pub struct Room {
    most: usize,
    taken: AtomicUsize,
}

/// What one export has taken of it.
#[derive(Debug)]
pub struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// Returns room for so many bytes.
    #[must_use]
    pub fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0) })
    }

    /// Returns an empty share.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share { room: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`Full`]; then nothing more is taken.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let most = self.room.most;
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= most);
        self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Full)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_and_given_back() {
        let room = Room::of(10);
        let (mut one, mut other) = (room.share(), room.share());
        assert_eq!(
            [one.grow(6), other.grow(5), other.grow(4), other.grow(usize::MAX)],
            [Ok(()), Err(Full), Ok(()), Err(Full)]
        );
        drop(one);
        assert_eq!(other.grow(6), Ok(()));
        drop(other);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
