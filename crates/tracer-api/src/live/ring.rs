//! What is kept for listeners: rendered changes in their order, in chunks that listeners share.
//!
//! Invariant: bounded by number and bytes. What lies behind `base` is all there, up to `head`.
//! Not here: who listens (`hub`).

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tracer_core::limits;
use tracer_core::live::ChangeBatch;
use tracer_core::name::WorkflowName;

use super::filter::{Filter, Mark};
use super::view;

/// Where a change is: the same on every replica. Written `batch-index`, which is an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) batch: u64,
    pub(super) index: u32,
}

impl Place {
    /// Returns the place behind all of a batch.
    pub(super) const fn behind(batch: u64) -> Self {
        Self { batch, index: u32::MAX }
    }

    /// Reads an event's id; none if it is none.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match id.split_once('-') {
            Some((batch, index)) if digits(batch) && digits(index) => {
                Some(Self { batch: batch.parse().ok()?, index: index.parse().ok()? })
            }
            None if digits(id) => Some(Self::behind(id.parse().ok()?)),
            Some(_) | None => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.index == u32::MAX {
            write!(f, "{}", self.batch)
        } else {
            write!(f, "{}-{}", self.batch, self.index)
        }
    }
}

/// A change as it is sent: the frame of a stream of events, and within it its JSON.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// `id`, `event` and `data`, and the empty line.
    pub(super) event: Bytes,
    json: Range<usize>,
}

impl Frame {
    pub(super) fn new(event: Vec<u8>, json: Range<usize>) -> Self {
        Self { event: event.into(), json }
    }

    /// Returns the JSON alone.
    pub(super) fn json(&self) -> &str {
        self.event.get(self.json.clone()).and_then(|json| std::str::from_utf8(json).ok()).unwrap_or_default()
    }
}

/// Changes that came together.
#[derive(Debug)]
pub(super) struct Chunk {
    marks: Vec<(Place, Mark)>,
    frames: Vec<(WorkflowName, Frame)>,
    bytes: usize,
    last: Place,
}

impl Chunk {
    /// Renders batches; none if they hold nothing that is known.
    pub(super) fn render(batches: &[Arc<ChangeBatch>]) -> Option<Self> {
        let (mut marks, mut frames, mut bytes) = (Vec::new(), Vec::new(), 0);
        for batch in batches {
            for (index, change) in &batch.changes {
                let place = Place { batch: batch.id, index: *index };
                let frame = view::frame(place, change);
                bytes += frame.event.len();
                marks.push((place, Mark::of(change)));
                frames.push((change.workflow.clone(), frame));
            }
        }
        let last = marks.last()?.0;
        Some(Self { marks, frames, bytes, last })
    }

    /// Takes what a filter lets through from behind a place, up to about so many bytes. Moves the place.
    fn take(&self, filter: &Filter, after: &mut Place, most: &mut usize, into: &mut Vec<Frame>) {
        let from = self.marks.partition_point(|(place, _)| place <= after);
        for ((place, mark), (workflow, frame)) in self.marks.iter().zip(&self.frames).skip(from) {
            if *most == 0 {
                return;
            }
            *after = *place;
            if filter.wants(mark, workflow) {
                *most = most.saturating_sub(frame.event.len());
                into.push(frame.clone());
            }
        }
    }
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    /// What comes behind it is here.
    base: Place,
    /// The newest that is here.
    head: Place,
    events: usize,
    bytes: usize,
    most_events: usize,
    most_bytes: usize,
}

impl Ring {
    /// Makes an empty one that keeps so many changes.
    pub(super) const fn new(most_events: usize) -> Self {
        let nowhere = Place::behind(0);
        let most_bytes = limits::LIVE_BUFFER_BYTES;
        Self {
            chunks: VecDeque::new(),
            base: nowhere,
            head: nowhere,
            events: 0,
            bytes: 0,
            most_events,
            most_bytes,
        }
    }

    /// Begins anew behind a batch.
    pub(super) fn begin(&mut self, after: u64) {
        self.chunks.clear();
        (self.events, self.bytes) = (0, 0);
        (self.base, self.head) = (Place::behind(after), Place::behind(after));
    }

    /// Adds what came next.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.head = chunk.last;
        self.events += chunk.marks.len();
        self.bytes += chunk.bytes;
        self.chunks.push_back(Arc::new(chunk));
        while self.chunks.len() > 1 && (self.events > self.most_events || self.bytes > self.most_bytes) {
            let Some(gone) = self.chunks.pop_front() else { return };
            self.events -= gone.marks.len();
            self.bytes -= gone.bytes;
            self.base = gone.last;
        }
    }

    pub(super) const fn head(&self) -> Place {
        self.head
    }

    /// Returns whether all that comes behind a place is here, or yet to come.
    pub(super) fn holds_all_behind(&self, place: Place) -> bool {
        place >= self.base
    }

    /// Returns some chunks with what comes behind a place, to be gone through without holding anything up.
    pub(super) fn behind(&self, place: Place) -> Vec<Arc<Chunk>> {
        const AT_ONCE: usize = 16;
        let from = self.chunks.partition_point(|chunk| chunk.last <= place);
        self.chunks.range(from..).take(AT_ONCE).cloned().collect()
    }
}

/// Takes what a filter lets through of these chunks from behind a place, up to about so many bytes. Moves the place.
pub(super) fn take(chunks: &[Arc<Chunk>], filter: &Filter, after: &mut Place, most: usize) -> Vec<Frame> {
    let (mut left, mut frames) = (most, Vec::new());
    for chunk in chunks {
        chunk.take(filter, after, &mut left, &mut frames);
    }
    frames
}
