//! What is measured: every binary of `functions/*`, and the peers that do the Twilio hook's job.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use switchboard_testkit::Failure;
use switchboard_testkit::function::Function;

/// The hook whose job the peers do.
pub const MAIN: &str = "twilio";
/// Name, title, command, handler and folder of each peer; the folder is what is deployed.
const PEERS: [[&str; 5]; 3] = [
    ["node", "Node 20, SDK v3 bundled", "node {folder}/index.mjs", "index.handle", "node/dist"],
    ["python", "Python 3.11, boto3", PYTHON, "handler.handle", "python/dist"],
    ["floor", "Rust without SDK", "{folder}/bootstrap", "bootstrap", "floor/dist"],
];
const PYTHON: &str = ".venv/bench-python/bin/python -m awslambdaric handler.handle";

/// A function or a peer.
#[derive(Clone, Debug)]
pub struct Program {
    /// How it is started.
    pub function: Function,
    /// The title in a table.
    pub title: String,
    /// Whether it is a peer.
    pub is_peer: bool,
    /// What is deployed: a folder or a binary.
    pub deploy: PathBuf,
}

impl Program {
    /// The name of the binary or of the peer.
    pub fn name(&self) -> &str {
        &self.function.name
    }

    /// A function by its binary.
    pub fn function(name: &str, binary: &Path) -> Result<Self, Failure> {
        let deploy = fs::canonicalize(binary)?;
        let folder = deploy.parent().unwrap_or(Path::new("/")).to_owned();
        let command = vec![deploy.display().to_string()];
        let function = Function { name: name.to_owned(), command, folder, handler: "bootstrap" };
        Ok(Self { function, title: name.to_owned(), is_peer: false, deploy })
    }
}

/// Every program that is built, the main hook first, then the peers; and a line for each that is not.
pub fn find(root: &Path, built: &Path) -> Result<(Vec<Program>, Vec<String>), Failure> {
    let (mut programs, mut missing) = (Vec::new(), Vec::new());
    for name in binaries(root)? {
        let paths = [built.join(&name).join("bootstrap"), built.join(&name)];
        let Some(binary) = paths.iter().find(|path| path.is_file()) else {
            missing.push(format!("{name}: not built in {}", built.display()));
            continue;
        };
        programs.push(Program::function(&name, binary)?);
    }
    for peer in PEERS {
        match find_peer(root, peer) {
            Ok(program) => programs.push(program),
            Err(failure) => missing.push(format!("{}: {failure}; run `make bench-peers`", peer[0])),
        }
    }
    programs.sort_by_key(|program| (program.name() != MAIN, !program.is_peer));
    Ok((programs, missing))
}

/// The names of every binary in `functions/*/src/bin`.
fn binaries(root: &Path) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for package in fs::read_dir(root.join("functions"))? {
        let Ok(files) = fs::read_dir(package?.path().join("src/bin")) else { continue };
        for file in files {
            let file = file?.file_name().into_string().unwrap_or_default();
            names.extend(file.strip_suffix(".rs").map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn find_peer(root: &Path, peer: [&'static str; 5]) -> Result<Program, Failure> {
    let [name, title, command, handler, folder] = peer;
    let folder = fs::canonicalize(root.join("tools/bench/peers").join(folder))?;
    let filled = |part: &str| part.replace("{folder}", &folder.display().to_string());
    let mut command: Vec<String> = command.split(' ').map(filled).collect();
    if command[0].contains('/') {
        // Links are not followed: Python finds its virtual environment by the link.
        command[0] = std::path::absolute(root.join(&command[0]))?.display().to_string();
    }
    let (deploy, name, title) = (folder.clone(), name.to_owned(), title.to_owned());
    Ok(Program {
        function: Function { name, command, folder, handler },
        title,
        is_peer: true,
        deploy,
    })
}

/// The size of a zip of a binary or of all files of a folder, deflated, bytes.
pub fn zip_size(deploy: &Path) -> Result<u64, Failure> {
    // The end of the zip; then of each file a header of its own and one in the directory, both with its name.
    let (mut size, mut paths) = (22, vec![deploy.to_owned()]);
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let files = fs::read_dir(&path)?.map(|file| Ok::<_, Failure>(file?.path()));
            paths.append(&mut files.collect::<Result<_, _>>()?);
            continue;
        }
        let name = if path == deploy { Path::new("bootstrap") } else { path.strip_prefix(deploy)? };
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
        deflated.write_all(&fs::read(&path)?)?;
        size += 30 + 46 + 2 * name.as_os_str().len() + deflated.finish()?.len();
    }
    Ok(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_their_sources_and_unbuilt_programs_are_listed() {
        let root = std::env::temp_dir().join(format!("bench-programs-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["functions/hooks/src/bin", "functions/new/src/bin", "built/a"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["hooks/src/bin/twilio.rs", "hooks/src/bin/a.rs", "new/src/bin/c.rs"] {
            fs::write(root.join("functions").join(file), "").unwrap();
        }
        fs::write(root.join("built/a/bootstrap"), "x").unwrap();
        fs::write(root.join("built/twilio"), "x").unwrap();
        let (programs, missing) = find(&root, &root.join("built")).unwrap();
        let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
        assert_eq!(names, ["twilio", "a"]);
        assert_eq!(missing.len(), 1 + PEERS.len());
        assert!(missing[0].starts_with("c: not built"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_zip_holds_all_files_and_is_deflated() {
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
