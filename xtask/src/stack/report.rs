//! What is said of each part: a line when it is known, and a sum at the end.
#![expect(clippy::print_stdout, reason = "the report is what the command is for")]

use anyhow::{Result, bail};

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: usize,
    absent: Vec<String>,
    failed: Vec<String>,
}

impl Report {
    /// Begins a part of the report.
    #[expect(clippy::unused_self, reason = "reads as the others do")]
    pub(super) fn section(&mut self, title: &str) {
        println!("\n{title}");
    }

    /// Says that something passed.
    pub(super) fn pass(&mut self, what: &str, how: &str) {
        self.passed += 1;
        let how = if how.is_empty() { String::new() } else { format!(": {how}") };
        println!("  pass  {what}{how}");
    }

    /// Says that something failed, and why.
    pub(super) fn fail(&mut self, what: &str, why: &str) {
        println!("  FAIL  {what}: {}", why.trim());
        self.failed.push(what.to_owned());
    }

    /// Says that something is not on this machine.
    pub(super) fn absent(&mut self, what: &str, why: &str) {
        println!("  --    {what}: {why}");
        self.absent.push(what.to_owned());
    }

    /// Says what is good to know and neither passed nor failed.
    #[expect(clippy::unused_self, reason = "reads as the others do")]
    pub(super) fn note(&mut self, what: &str) {
        println!("        {what}");
    }

    /// Says how something ended: the text is how it passed, the error why it failed.
    pub(super) fn outcome(&mut self, what: &str, ended: Result<String>) {
        match ended {
            Ok(how) => self.pass(what, &how),
            Err(why) => self.fail(what, &format!("{why:#}")),
        }
    }

    /// Says the sum.
    ///
    /// # Errors
    /// If something failed.
    pub(super) fn end(self) -> Result<()> {
        println!("\n{} passed, {} failed, {} not here", self.passed, self.failed.len(), self.absent.len());
        if !self.absent.is_empty() {
            println!("not here: {}", self.absent.join(", "));
        }
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_no_failure_and_what_failed_is_named() {
        let mut report = Report::default();
        report.pass("one", "");
        report.absent("two", "not installed");
        assert!(report.end().is_ok());
        let mut report = Report::default();
        report.outcome("three", Ok(String::new()));
        report.outcome("four", Err(anyhow::anyhow!("it broke")));
        assert_eq!(report.end().unwrap_err().to_string(), "failed: four");
    }
}
