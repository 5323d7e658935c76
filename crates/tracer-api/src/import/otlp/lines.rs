//! Lines of a file that may be far larger than memory.
//!
//! Invariant: no more than [`LINE_BYTES`] of a file are held at once.

use std::io::{self, BufRead, Read};

use crate::import::format::BYTE_ORDER_MARK;

/// Most bytes in a line, which is one batch of a collector.
pub const LINE_BYTES: usize = 64 * 1024 * 1024;

/// The lines of a file, one after another.
#[derive(Debug)]
pub struct Lines<R> {
    file: R,
    most: usize,
    number: u64,
    buffer: Vec<u8>,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its content, without white space around it.
    Text(&'a [u8]),
    /// It has more than [`LINE_BYTES`], and was passed over.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Returns the lines of a file.
    pub fn new(file: R) -> Self {
        Self::of_at_most(file, LINE_BYTES)
    }

    fn of_at_most(file: R, most: usize) -> Self {
        Self { file, most, number: 0, buffer: Vec::new() }
    }

    /// Returns the next line that is not blank, and its number from 1; none at the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        loop {
            self.buffer.clear();
            let most = u64::try_from(self.most).unwrap_or(u64::MAX).saturating_add(1);
            if Read::by_ref(&mut self.file).take(most).read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.buffer.last() != Some(&b'\n') && self.buffer.len() > self.most {
                self.pass_over()?;
                return Ok(Some((self.number, Line::TooLong)));
            }
            if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some((self.number, Line::Text(self.buffer.trim_ascii()))))
    }

    /// Passes over the rest of a line.
    fn pass_over(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.file.fill_buf()?;
            let (end, passed) = match bytes.iter().position(|&byte| byte == b'\n') {
                Some(at) => (true, at + 1),
                None => (bytes.is_empty(), bytes.len()),
            };
            self.file.consume(passed);
            if end {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> String {
        let mut lines = Lines::of_at_most(io::BufReader::with_capacity(3, text.as_bytes()), most);
        let mut told = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            told.push(match line {
                Line::Text(text) => format!("{number} {}", String::from_utf8_lossy(text)),
                Line::TooLong => format!("{number} too long"),
            });
        }
        told.join("; ")
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_passed_over() {
        assert_eq!(read("\u{feff}a\r\n\n \t\n b \nc", 10), "1 a; 4 b; 5 c");
        assert_eq!(read("", 10), "");
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        assert_eq!(read("abcd\nabcde\nabcdefghijkl\nx", 4), "1 abcd; 2 too long; 3 too long; 4 x");
        assert_eq!(read("abcdefghijkl", 4), "1 too long");
    }
}
