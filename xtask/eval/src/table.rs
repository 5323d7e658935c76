//! Plain text in columns.

/// Columns under headings, two lines of them: what neighbours have in common, and each one's own.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, String)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table; the first column holds names and is set to the left.
    pub(crate) fn new(columns: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns the table as text, line by line.
    pub(crate) fn text(&self) -> String {
        let widths = self.widths();
        let titles: Vec<&str> = self.columns.iter().map(|(_, title)| title.as_str()).collect();
        let mut lines = vec![self.groups(&widths), line(&widths, &titles)];
        for row in &self.rows {
            lines.push(line(&widths, &row.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        lines.join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(column, (_, title)): (usize, &(&str, String))| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.chain([title]).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(width).collect();
        self.widen_for_groups(&mut widths);
        widths
    }

    /// Makes the first column of a group wide enough for the group's heading to fit over all of it.
    fn widen_for_groups(&self, widths: &mut [usize]) {
        for (first, count) in self.spans() {
            // Over several columns it stands between two spaces and, at least, two dashes.
            let frame = if count > 1 { 4 } else { 0 };
            let heading = self.columns.get(first).filter(|(group, _)| !group.is_empty());
            let group = heading.map_or(0, |(group, _)| group.chars().count() + frame);
            let Some(columns) = widths.get_mut(first..first + count) else { continue };
            let has = columns.iter().sum::<usize>() + GAP * (count - 1);
            if let Some(width) = columns.first_mut() {
                *width += group.saturating_sub(has);
            }
        }
    }

    /// Returns where each group begins and how many columns it has.
    fn spans(&self) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut before = None;
        for (column, (group, _)) in self.columns.iter().enumerate() {
            match spans.last_mut() {
                Some((_, count)) if before == Some(group) => *count += 1,
                _ => spans.push((column, 1)),
            }
            before = Some(group);
        }
        spans
    }

    fn groups(&self, widths: &[usize]) -> String {
        let mut text = String::new();
        for (first, count) in self.spans() {
            let group = self.columns.get(first).map_or("", |(group, _)| group);
            let columns = widths.get(first..first + count).unwrap_or_default();
            let width = columns.iter().sum::<usize>() + GAP * (count - 1);
            // Centred in dashes, so that one sees how far it reaches.
            let heading = match (group, count) {
                ("", _) => " ".repeat(width),
                (group, 1) => format!("{group:>width$}"),
                (group, _) => format!("{:-^width$}", format!(" {group} ")),
            };
            text.push_str(&" ".repeat(if first == 0 { 0 } else { GAP }));
            text.push_str(&heading);
        }
        text.trim_end().to_owned()
    }
}

/// Spaces between columns.
const GAP: usize = 2;

fn line(widths: &[usize], cells: &[&str]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        if column == 0 {
            text.extend([*cell, &padding]);
        } else {
            text.extend([&" ".repeat(GAP), &padding, *cell]);
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn columns_line_up_under_what_they_have_in_common() {
        let titles = [("", "rule"), ("", "n"), ("single steps", "2×"), ("single steps", "3×"), ("x", "")];
        let mut table = Table::new(titles.map(|(group, title)| (group, title.to_owned())));
        table.add(["factor", "1,234", "5", "60", "-"].map(str::to_owned));
        table.add(["é", "7", "100", "", "-"].map(str::to_owned));
        assert_snapshot!(table.text(), @r"
                       - single steps -  x
        rule        n            2×  3×
        factor  1,234             5  60  -
        é           7           100      -
        ");
    }
}
