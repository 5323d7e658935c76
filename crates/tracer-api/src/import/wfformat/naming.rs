//! What a file and its tasks are named after, without the numbers that tell one run from another.
//!
//! Not here: whether the result is a valid name.

/// Returns the name of the workflow that a file holds a run of: `blast-small-001.json` is `blast-small`.
pub(super) fn workflow_name(source: &str) -> String {
    let file = source.rsplit(['/', '\\']).next().unwrap_or(source);
    let file = file.strip_suffix(".gz").unwrap_or(file);
    let stem = match file.rsplit_once('.') {
        Some((stem, extension)) if extension.eq_ignore_ascii_case("json") => stem,
        Some(_) | None => file,
    };
    without_number(stem, "-").unwrap_or(stem).to_owned()
}

/// Returns the name of the step that a task is one occurrence of.
///
/// Three habits of the systems that write such files are known: `blastall_ID000012` (Pegasus and
/// Makeflow), `blastall_00000012` (generated workflows) and `FASTQC (sample 1)` (Nextflow). A name
/// whose id is that name plus a number, as in converted Nextflow runs, is complete: its own number,
/// if it ends in one, means something (`PHASE_2` with the id `PHASE_2_17`).
pub(super) fn step_name<'a>(name: &'a str, id: &str) -> &'a str {
    let process = match name.split_once(" (") {
        Some((process, sample)) if !process.is_empty() && sample.ends_with(')') => process,
        Some(_) | None => name,
    };
    if without_number(id, "_").is_some_and(|head| head == name || head == process) {
        return process;
    }
    without_number(process, "_ID").or_else(|| without_number(process, "_")).unwrap_or(process)
}

/// Returns what precedes `separator` and a number at the end of the text, unless that is nothing.
fn without_number<'a>(text: &'a str, separator: &str) -> Option<&'a str> {
    let head = text.trim_end_matches(|c: char| c.is_ascii_digit());
    if head.len() == text.len() {
        return None;
    }
    head.strip_suffix(separator).filter(|head| !head.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_named_after_its_file_without_the_number_of_the_run() {
        let names = [
            ("blast-small-001.json", "blast-small"),
            ("data/2ch-100k-001.JSON", "2ch-100k"),
            (r"C:\runs\daily-7.json", "daily"),
            ("v1.2-003.json", "v1.2"),
            ("nightly.json", "nightly"),
            ("nightly-9.json.gz", "nightly"),
            ("nightly-2.txt", "nightly-2.txt"),
            ("-001.json", "-001"),
            ("", ""),
        ];
        for (file, name) in names {
            assert_eq!(workflow_name(file), name, "{file}");
        }
    }

    #[test]
    fn a_step_is_named_after_its_task_without_id_and_sample() {
        let names = [
            ("blastall_ID000012", "blastall_ID000012", "blastall"),
            ("individuals_merge_ID0000001", "ID0000001", "individuals_merge"),
            ("bowtie2-build_ID0000001", "bowtie2-build_ID0000001", "bowtie2-build"),
            ("blastall_00000012", "blastall_00000012", "blastall"),
            ("NF.QC.FASTQC", "NF.QC.FASTQC_3", "NF.QC.FASTQC"),
            ("NF.QC.PHASE_2", "NF.QC.PHASE_2_17", "NF.QC.PHASE_2"),
            ("NF:QC:FASTQC (sample (1))", "17", "NF:QC:FASTQC"),
            ("NF:QC:PHASE_2 (a)", "NF:QC:PHASE_2_17", "NF:QC:PHASE_2"),
            ("MERGE_BOWTIE2", "MERGE_BOWTIE2", "MERGE_BOWTIE2"),
            ("_ID7", "_ID7", "_ID7"),
            ("_7", "_7", "_7"),
            ("2024", "2024", "2024"),
            ("f(x)", "f(x)", "f(x)"),
        ];
        for (name, id, step) in names {
            assert_eq!(step_name(name, id), step, "{name} with the id {id}");
        }
    }
}
