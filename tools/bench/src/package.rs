//! The zip that would be uploaded.

use std::fs;
use std::io::{Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::Failure;

/// Counts what is written, and keeps nothing.
#[derive(Default)]
struct Counter {
    at: u64,
    end: u64,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Counter {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        let moved = match to {
            std::io::SeekFrom::Start(at) => Some(at),
            std::io::SeekFrom::End(by) => self.end.checked_add_signed(by),
            std::io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = moved.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The size of a zip of a binary (as `bootstrap`) or of everything in a folder, deflated, bytes.
pub fn zip_size(path: &Path) -> Result<u64, Failure> {
    let mut counter = Counter::default();
    let mut zip = ZipWriter::new(&mut counter);
    match path.is_dir() {
        true => folder(&mut zip, path, "")?,
        false => file(&mut zip, path, "bootstrap")?,
    }
    zip.finish()?;
    Ok(counter.end)
}

fn folder(zip: &mut ZipWriter<&mut Counter>, path: &Path, prefix: &str) -> Result<(), Failure> {
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => folder(zip, &entry.path(), &format!("{name}/"))?,
            false => file(zip, &entry.path(), &name)?,
        }
    }
    Ok(())
}

fn file(zip: &mut ZipWriter<&mut Counter>, path: &Path, name: &str) -> Result<(), Failure> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(0o755);
    zip.start_file(name, options)?;
    zip.write_all(&fs::read(path)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zip_holds_all_and_is_deflated() {
        let root = std::env::temp_dir().join(format!("bench-zip-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/zeros"), vec![0; 1_000_000]).unwrap();
        let one = zip_size(&root.join("a/b/zeros")).unwrap();
        assert!((900..3_000).contains(&one), "{one}");
        fs::write(root.join("a/more"), (0..=255).collect::<Vec<u8>>()).unwrap();
        let two = zip_size(&root).unwrap();
        assert!(two > one + 256, "{two} after {one}");
        fs::remove_dir_all(&root).unwrap();
    }
}
