//! The files that an import is given: which they are, what they hold, and their content.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::import::format::Format;

/// Bytes that are read from a file at once.
const BUFFER: usize = 256 * 1024;
/// How a gzip file begins (RFC 1952, section 2.3.1).
const GZIP: &[u8] = b"\x1f\x8b";
/// How the names of files end that are taken from a folder; `.gz` may follow.
const ENDINGS: [&str; 3] = ["json", "jsonl", "ndjson"];

/// Returns the files among the paths and, sorted by name, those in the folders among them. What cannot
/// be looked at stays: whoever opens it will say why.
pub(super) fn named(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir().then(|| within(path)) {
            Some(Ok(found)) => files.extend(found),
            Some(Err(_)) | None => files.push(path.clone()),
        }
    }
    files
}

fn within(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_file() && may_be_imported(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn may_be_imported(path: &Path) -> bool {
    let gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let path = if gzip { path.with_extension("") } else { path.to_owned() };
    path.extension()
        .is_some_and(|extension| ENDINGS.iter().any(|ending| extension.eq_ignore_ascii_case(ending)))
}

/// Opens a file; what is compressed by gzip is read as if it were not, whatever the file is called.
///
/// # Errors
/// If it cannot be opened or read.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    if file.fill_buf()?.starts_with(GZIP) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// Returns the whole content of a file.
///
/// # Errors
/// If it cannot be opened or read.
pub(super) fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// Returns what a file holds; none if that cannot be told.
///
/// # Errors
/// If it cannot be opened or read.
pub(super) fn format(path: &Path) -> io::Result<Option<Format>> {
    Ok(Format::recognise(open(path)?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_folder_stands_for_the_files_in_it_that_may_be_imported() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.jsonl", "c.NDJSON", "d.jsonl.gz", "e.txt", "f.gz", "json"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("g.json")).unwrap();
        let missing = folder.path().join("missing");
        let files = named(&[missing.clone(), folder.path().to_owned()]);
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["missing", "a.jsonl", "b.json", "c.NDJSON", "d.jsonl.gz"]);
        assert!(open(&missing).is_err());
    }

    #[test]
    fn gzip_is_recognised_by_content_and_may_have_several_members() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spans.jsonl");
        std::fs::write(&file, [zipped("{\"resourceSpans\":"), zipped("[]}\n")].concat()).unwrap();
        assert_eq!(format(&file).unwrap(), Some(Format::Otlp));
        assert_eq!(content(&file).unwrap(), b"{\"resourceSpans\":[]}\n");
    }
}
