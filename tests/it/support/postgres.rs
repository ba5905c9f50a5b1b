//! A PostgreSQL server for the tests: the one that `HARBOR_WEBHOOK_TEST_POSTGRES` names, or a throw-away cluster.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
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
    pub(crate) folder: PathBuf,
    port: u16,
}

/// Runs a server, and does what it is told line by line. When nothing more can come it stops the server, hard.
const KEEPER: &str = "postgres=$1 folder=$2 port=$3 options=$4
    start() {
      \"$postgres\" -D \"$folder/data\" -h 127.0.0.1 -p \"$port\" -k \"$folder\" -c max_connections=200 $options 2>&1 &
      server=$!
    }
    start
    while read -r line; do eval \"$line\"; done
    kill -QUIT $server; wait $server";

impl Cluster {
    pub(crate) fn make() -> Self {
        Self::make_with(&[])
    }

    /// One that `initdb` makes with these arguments too.
    pub(crate) fn make_with(options: &[&str]) -> Self {
        let cluster = Self::empty();
        let mut initdb = as_owner(&program("initdb"));
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"]);
        initdb.arg(cluster.folder.join("data")).args(options);
        succeed(&mut initdb);
        cluster
    }

    fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("harbor-webhook-postgres-").tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&folder).status().unwrap();
            assert!(owned.success(), "the user postgres is missing: {INSTALL}");
        }
        Self { folder, port }
    }

    /// A standby of this cluster, whose server must run, not started yet.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::empty();
        let mut copy = as_owner(&program("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-c", "fast", "--no-sync"]);
        copy.args(["-p", &self.port.to_string(), "-D"]).arg(standby.folder.join("data"));
        succeed(&mut copy);
        standby
    }

    /// Makes a standby that runs the new primary.
    pub(crate) fn promote(&self) {
        succeed(as_owner(&program("pg_ctl")).args(["promote", "-D"]).arg(self.folder.join("data")));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Starts the server and waits until it answers. It stops, hard, when the child's standard input closes.
    pub(crate) fn start(&self) -> (Child, String) {
        self.start_with("")
    }

    /// Starts it with these options of `postgres`.
    pub(crate) fn start_with(&self, options: &str) -> (Child, String) {
        let mut shell = as_owner(Path::new("sh"));
        self.run(shell.args(["-c", KEEPER, "sh"]), options)
    }

    /// Starts it where the folder `disk` in the cluster's lies on a disk of its own, of this size, after the commands of
    /// `before`. It is what any user may mount, in a namespace of the server's own, where PostgreSQL is not root.
    pub(crate) fn start_on_small_disk(&self, size: &str, before: &str, options: &str) -> (Child, String) {
        let script = format!(
            "mkdir -p \"$2/disk\" && mount -t tmpfs -o size={size},mode=777 none \"$2/disk\" || exit 1
             exec unshare --user --map-user=1000 --map-group=1000 sh -c 'cd \"$2\"; {before}\n{KEEPER}' sh \"$@\""
        );
        let mut unshare = as_owner(Path::new("unshare"));
        self.run(unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]), options)
    }

    fn run(&self, keeper: &mut Command, options: &str) -> (Child, String) {
        keeper.arg(program("postgres")).arg(&self.folder).arg(self.port.to_string()).arg(options);
        let mut child = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        wait_for_ready(child.stdout.take().unwrap());
        (child, format!("postgres://postgres@127.0.0.1:{}/postgres", self.port))
    }
}

fn wait_for_ready(output: ChildStdout) {
    let mut log = BufReader::new(output).lines().map_while(Result::ok);
    let mut before = Vec::new();
    // A standby is ready for read-only ones.
    let ready = |line: String| {
        let ready = line.contains("ready to accept");
        before.push(line);
        ready
    };
    assert!(log.any(ready), "the server did not start:\n{}", before.join("\n"));
    std::thread::spawn(move || log.for_each(drop));
}

/// Has a server's keeper do something: `start`, or any command.
pub(crate) fn tell(server: &mut Child, command: &str) {
    writeln!(server.stdin.as_mut().unwrap(), "{command}").unwrap();
}

/// Stops a server, hard.
pub(crate) fn kill(server: &mut Child) {
    drop(server.stdin.take());
    server.wait().unwrap();
}

fn succeed(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&done.stderr));
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
