//! A PostgreSQL server for the tests: the one that `HARBOR_WEBHOOK_TEST_POSTGRES` names, or a throw-away cluster.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The URL of a database that tests may do with as they like. One server for all of them.
pub(crate) fn url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    // The server ends when its standard input does, which is when this process ends.
    static SERVER: Mutex<Option<Child>> = Mutex::new(None);
    URL.get_or_init(|| {
        if let Ok(url) = std::env::var("HARBOR_WEBHOOK_TEST_POSTGRES") {
            return url;
        }
        let cluster = Cluster::make();
        let (server, url) = cluster.start();
        *SERVER.lock().unwrap() = Some(server);
        url
    })
}

/// A name for a schema of a test's own.
pub(crate) fn schema() -> String {
    format!("test \"{}\"", uuid::Uuid::now_v7().simple())
}

/// A throw-away cluster that a test may stop and start.
pub(crate) struct Cluster {
    folder: PathBuf,
    port: u16,
}

impl Cluster {
    pub(crate) fn make() -> Self {
        let folder = tempfile::Builder::new().prefix("harbor-webhook-postgres-").tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, port };
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&cluster.folder).status().unwrap();
            assert!(owned.success(), "the user postgres is missing: {INSTALL}");
        }
        let data = cluster.folder.join("data");
        let mut initdb = as_owner(&program("initdb"));
        let initdb = initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"]);
        let made = initdb.arg(&data).stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        cluster
    }

    /// Starts the server and waits until it answers. It stops, hard, when the child's standard input closes.
    pub(crate) fn start(&self) -> (Child, String) {
        let Self { folder, port } = self;
        let script = "\"$1\" -D \"$2/data\" -h 127.0.0.1 -p \"$3\" -k \"$2\" -c max_connections=200 2>&1 & server=$!
            read -r _; kill -QUIT $server; wait $server";
        let mut shell = as_owner(Path::new("sh"));
        shell.args(["-c", script, "sh"]).arg(program("postgres")).arg(folder).arg(port.to_string());
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = log.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections"));
        assert!(ready, "the server did not start");
        std::thread::spawn(move || log.for_each(drop));
        (child, format!("postgres://postgres@127.0.0.1:{port}/postgres"))
    }
}

const INSTALL: &str = "apt-get install postgresql, or set HARBOR_WEBHOOK_TEST_POSTGRES to the URL of a server";

/// PostgreSQL refuses to run as root.
fn as_owner(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// In the path, or where Debian puts the newest version.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).map(|folder| folder.join(name)).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    versions.sort();
    found.extend(versions.into_iter().rev());
    let found = found.into_iter().find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} was not found: {INSTALL}"))
}
