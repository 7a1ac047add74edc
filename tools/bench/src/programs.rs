//! What is measured: every binary of `functions/*`, and the peers that `programs.toml` names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Failure;

/// `programs.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// The hook whose job the peers do. Its calls feed the workers.
    pub main: String,
    /// The programs that do the same job.
    #[serde(default, rename = "peer")]
    pub peers: Vec<Peer>,
}

/// A program that does the main hook's job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// A short name: `node`, `python`, `floor`.
    pub name: String,
    /// What it is, for the table.
    pub title: String,
    /// How it is started. `{folder}` stands for the deployed folder.
    pub command: Vec<String>,
    /// What would be deployed, from the root of the repository: a folder or one file.
    pub deploy: String,
    /// The value of `_HANDLER`.
    #[serde(default)]
    pub handler: String,
}

/// A program that can be started.
#[derive(Clone, Debug)]
pub struct Program {
    /// A function's name as its binary's, or a peer's.
    pub name: String,
    /// What it is, for the table.
    pub title: String,
    /// Whether it is one that ours are compared with.
    pub is_peer: bool,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Where it runs: what Lambda calls the task root.
    pub folder: PathBuf,
    /// What would be put into the zip: a folder or a binary.
    pub deploy: PathBuf,
    /// The value of `_HANDLER`.
    pub handler: String,
}

/// The programs that can be measured, and what is missing, in words.
pub struct Found {
    /// In the order of the table: the main hook, its peers, the others by name.
    pub programs: Vec<Program>,
    /// One line for each function that is not built.
    pub unbuilt: Vec<String>,
    /// One line for each peer that is not made.
    pub absent: Vec<String>,
    /// The main hook's name.
    pub main: String,
}

/// Reads `programs.toml`, and looks for the binaries in `built`: as `<name>` or `<name>/bootstrap`.
pub fn find(root: &Path, built: &Path) -> Result<Found, Failure> {
    let path = root.join("tools/bench/programs.toml");
    let text = fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let listed: Programs = toml::from_str(&text)?;
    let (mut programs, mut unbuilt, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for name in binaries(root)? {
        match [built.join(&name).join("bootstrap"), built.join(&name)].iter().find(|p| p.is_file())
        {
            Some(binary) => programs.push(ours(&name, &absolute(binary)?)),
            None => unbuilt.push(format!("{name}: not built in {}", built.display())),
        }
    }
    for peer in &listed.peers {
        match theirs(root, peer) {
            Ok(program) => programs.push(program),
            Err(why) => absent.push(format!("{}: {why}", peer.name)),
        }
    }
    programs.sort_by_key(|program| (program.name != listed.main, !program.is_peer));
    Ok(Found { programs, unbuilt, absent, main: listed.main })
}

/// The names of the functions: of every binary in `functions/*/src/bin`.
pub fn binaries(root: &Path) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for package in fs::read_dir(root.join("functions"))? {
        let Ok(files) = fs::read_dir(package?.path().join("src/bin")) else { continue };
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
    }
    names.sort();
    Ok(names)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(fs::canonicalize(path)?)
}

fn ours(name: &str, binary: &Path) -> Program {
    Program {
        name: name.to_owned(),
        title: name.to_owned(),
        is_peer: false,
        command: vec![binary.display().to_string()],
        folder: binary.parent().unwrap_or(Path::new("/")).to_owned(),
        deploy: binary.to_owned(),
        handler: "bootstrap".to_owned(),
    }
}

fn theirs(root: &Path, peer: &Peer) -> Result<Program, Failure> {
    let deploy = root.join(&peer.deploy);
    if !deploy.exists() {
        return Err(Failure::new(format!(
            "{} is not there; its page says how to make it",
            peer.deploy
        )));
    }
    let deploy = absolute(&deploy)?;
    let folder = match deploy.is_dir() {
        true => deploy.clone(),
        false => deploy.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let filled = |part: &String| part.replace("{folder}", &folder.display().to_string());
    let mut command: Vec<String> = peer.command.iter().map(filled).collect();
    if let Some(program) = command.first_mut() {
        *program = on_path(root, program)
            .ok_or_else(|| Failure::new(format!("{program} is not installed")))?;
    }
    Ok(Program {
        name: peer.name.clone(),
        title: peer.title.clone(),
        is_peer: true,
        command,
        folder,
        deploy,
        handler: peer.handler.clone(),
    })
}

/// Where a program is: by its path, from the root of the repository, or on `PATH`. Links are
/// followed no further than that: a virtual environment is told by the link.
pub fn on_path(root: &Path, program: &str) -> Option<String> {
    if program.contains('/') {
        // The program starts in a folder of its own, so a relative path would lead elsewhere.
        let path = std::path::absolute(root.join(program)).ok()?;
        return path.is_file().then(|| path.display().to_string());
    }
    let folders = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join(program));
    found.into_iter().find(|path| path.is_file()).map(|path| path.display().to_string())
}

/// Where the stand-ins are.
pub struct Addresses {
    /// Ports on loopback.
    pub runtime_api: u16,
    /// As above.
    pub dynamodb: u16,
    /// As above.
    pub sqs: u16,
    /// As above.
    pub ssm: u16,
    /// The authority's certificate, a file.
    pub authority: PathBuf,
}

/// The prefix of every parameter.
pub const PARAMETER_PREFIX: &str = "/switchboard/bench";

/// What Lambda and the template put into a function's environment, and what leads to the
/// stand-ins. `stage` is `local` where a CRM on loopback must be allowed.
pub fn environment(
    program: &Program,
    to: &Addresses,
    memory_mb: u32,
    stage: &str,
) -> BTreeMap<String, String> {
    let authority = to.authority.display().to_string();
    let service = |port: u16| format!("https://localhost:{port}");
    let queue = |name: &str| format!("{}/123456789012/{name}", service(to.sqs));
    [
        ("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", to.runtime_api)),
        ("AWS_LAMBDA_FUNCTION_NAME", program.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", program.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".into()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into()),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_DEFAULT_REGION", "eu-central-1".into()),
        ("AWS_ACCESS_KEY_ID", "AKIDBENCH".into()),
        ("AWS_SECRET_ACCESS_KEY", "fake-secret-access-key".into()),
        ("AWS_SESSION_TOKEN", "fake-session-token".into()),
        ("LAMBDA_TASK_ROOT", program.folder.display().to_string()),
        ("_HANDLER", program.handler.clone()),
        ("TZ", ":UTC".into()),
        ("LANG", "en_US.UTF-8".into()),
        ("AWS_ENDPOINT_URL", service(to.dynamodb)),
        ("AWS_ENDPOINT_URL_DYNAMODB", service(to.dynamodb)),
        ("AWS_ENDPOINT_URL_SQS", service(to.sqs)),
        ("AWS_ENDPOINT_URL_SSM", service(to.ssm)),
        ("SSL_CERT_FILE", authority.clone()),
        ("AWS_CA_BUNDLE", authority.clone()),
        ("NODE_EXTRA_CA_CERTS", authority),
        ("STAGE", stage.into()),
        ("ALLOW_PRIVATE_DESTINATIONS", (stage == "local").to_string()),
        ("LOG_LEVEL", "info".into()),
        ("CALLS_TABLE", "calls".into()),
        ("DIRECTORY_TABLE", "directory".into()),
        ("ENRICH_QUEUE_URL", queue("enrich")),
        ("ANALYZE_QUEUE_URL", queue("analyze")),
        ("DELIVER_QUEUE_URL", queue("deliver")),
        ("PULL_QUEUE_URL", queue("pull")),
        ("PARAMETER_PREFIX", PARAMETER_PREFIX.into()),
        ("RETENTION_DAYS", "400".into()),
    ]
    .into_iter()
    // Where recordings are copied, others know of the bucket too; most stacks have none.
    .chain((program.name == "recordings").then(|| ("RECORDINGS_BUCKET", "bench".into())))
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_to_the_functions_is_found_and_what_is_absent_is_said() {
        let root = std::env::temp_dir().join(format!("bench-programs-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for folder in ["functions/hooks/src/bin", "functions/new/src/bin", "tools/bench", "built/b"]
        {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["hooks/src/bin/b.rs", "hooks/src/bin/a.rs", "new/src/bin/c.rs"] {
            fs::write(root.join("functions").join(file), "").unwrap();
        }
        fs::write(root.join("built/b/bootstrap"), "x").unwrap();
        fs::write(root.join("built/c"), "x").unwrap();
        fs::write(root.join("built/peer.sh"), "x").unwrap();
        let listed = r#"
            main = "c"
            [[peer]]
            name = "shell"
            title = "A shell"
            command = ["sh", "{folder}/peer.sh"]
            deploy = "built/peer.sh"
            [[peer]]
            name = "absent"
            title = "Absent"
            command = ["sh"]
            deploy = "nowhere"
        "#;
        fs::write(root.join("tools/bench/programs.toml"), listed).unwrap();
        let found = find(&root, &root.join("built")).unwrap();
        let names: Vec<&str> = found.programs.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["c", "shell", "b"]);
        assert!(found.programs[1].command[1].ends_with("built/peer.sh"));
        assert_eq!((found.unbuilt.len(), found.absent.len()), (1, 1));
        fs::remove_dir_all(&root).unwrap();
    }
}
