//! The bridge behind the real registry: Debian's docker-registry tells of what skopeo does.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::bridge::policies;
use crate::running_bridge::{Bridge, Catcher, stderr_of, wait_for};

/// The registry's one user.
const CREDENTIALS: &str = "alice:s3cret";
const HTPASSWD: &str = "alice:$2b$04$w0I/jLK6EzLakH9WFB28FebIIgXPuxZpGIM/UjcL1jtbEfcS5yE4u\n";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn skopeo_push_pull_and_delete_make_one_webhook_each() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[]));
    let dir = dir.path();
    let policies = policies(dir, &catcher.url(), "Default");
    let bridge = Bridge::start(
        dir,
        &[
            ["--store", "sqlite:webhooks.db", "--policies", &policies, "--project", "library=2"],
            ["--allow-network", "127.0.0.0/8", "--public-endpoint", "hub.example.com", "--retry-schedule", "50ms"],
        ]
        .concat(),
    );
    let registry = Registry::start(dir, bridge.address);
    let digest = write_image(dir);
    let image = format!("docker://{}/library/tiny:v1", registry.address);
    let by_digest = format!("docker://{}/library/tiny@{digest}", registry.address);

    skopeo(dir, &["copy", "--dest-tls-verify=false", "--dest-creds", CREDENTIALS, "oci:image:v1", &image]);
    expect(&catcher, "PUSH_ARTIFACT", "v1", &digest, "hub.example.com/library/tiny:v1");

    skopeo(dir, &["copy", "--src-tls-verify=false", "--src-creds", CREDENTIALS, &image, "dir:pulled"]);
    expect(&catcher, "PULL_ARTIFACT", "v1", &digest, "hub.example.com/library/tiny:v1");

    skopeo(dir, &["copy", "--src-tls-verify=false", "--src-creds", CREDENTIALS, &by_digest, "dir:pulled-by-digest"]);
    let untagged = format!("hub.example.com/library/tiny@{digest}");
    expect(&catcher, "PULL_ARTIFACT", &digest, &digest, &untagged);

    // A repository of no known project.
    let stranger = format!("docker://{}/strange/tiny:v1", registry.address);
    skopeo(dir, &["copy", "--dest-tls-verify=false", "--dest-creds", CREDENTIALS, "oci:image:v1", &stranger]);
    wait_for("the stranger to be counted", || (bridge.healthz()["ignored_unknown_project"] == 1).then_some(()));
    catcher.nothing_more();

    // Skopeo fetches the manifest before it deletes it: a pull like any other. The deletion itself is told of twice, by
    // digest and by tag, and is one event. The two may be on their way at once, and come in any order.
    skopeo(dir, &["delete", "--tls-verify=false", "--creds", CREDENTIALS, &image]);
    let mut last = [catcher.next().json(), catcher.next().json()];
    last.sort_by_key(|body| body["type"] == "DELETE_ARTIFACT");
    check(&last[0], "PULL_ARTIFACT", "v1", &digest, "hub.example.com/library/tiny:v1");
    check(&last[1], "DELETE_ARTIFACT", &digest, &digest, &untagged);
    catcher.nothing_more();
    assert_eq!(bridge.stop("TERM").code(), Some(0), "{}", stderr_of(dir));
}

fn expect(catcher: &Catcher, event_type: &str, tag: &str, digest: &str, resource_url: &str) {
    check(&catcher.next().json(), event_type, tag, digest, resource_url);
}

fn check(body: &Value, event_type: &str, tag: &str, digest: &str, resource_url: &str) {
    assert_eq!(body["type"], event_type, "{body}");
    assert_eq!(body["operator"], "alice", "{body}");
    let resource = json!([{ "digest": digest, "tag": tag, "resource_url": resource_url }]);
    assert_eq!(body["event_data"]["resources"], resource, "{body}");
    assert_eq!(body["event_data"]["repository"]["repo_full_name"], "library/tiny");
}

#[test]
fn repeats_are_recognised_and_only_manifests_count() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[]));
    let policies = policies(dir.path(), &catcher.url(), "CloudEvents");
    let store = ["--store", "sqlite:webhooks.db", "--policies", &policies, "--project", "library=2"];
    let bridge = Bridge::start(dir.path(), &[&store[..], &["--allow-network", "127.0.0.0/8"]].concat());
    let digest = format!("sha256:{}", "ab".repeat(32));
    let notification = |id: &str, action: &str, method: &str, target: Value| {
        json!({
            "id": id, "timestamp": "2026-01-02T03:04:05.678Z", "action": action, "target": target,
            "request": { "id": format!("request-of-{action}"), "host": "127.0.0.1:5000", "method": method },
            "actor": { "name": "alice" }, "source": {},
        })
    };
    let manifest = json!({ "repository": "library/tiny", "mediaType": MANIFEST, "digest": digest, "tag": "v1" });
    let blob = json!({ "repository": "library/tiny", "mediaType": "application/octet-stream", "digest": digest });
    let push = json!({ "events": [
        notification("1", "push", "PUT", blob.clone()),
        notification("2", "push", "PUT", manifest.clone()),
        notification("3", "pull", "HEAD", manifest),
        notification("4", "pull", "GET", blob),
        notification("5", "mount", "POST", json!({ "fromRepository": "x/y" })),
    ] });
    let deletion = json!({ "events": [
        notification("6", "delete", "DELETE", json!({ "repository": "library/tiny", "digest": digest })),
        notification("7", "delete", "DELETE", json!({ "repository": "library/tiny", "tag": "v1" })),
    ] });
    for envelope in [&push, &push, &deletion, &deletion] {
        let (status, answer) = bridge.post("/distribution", "", &envelope.to_string());
        assert_eq!((status, &*answer), (202, r#"{"events":1}"#));
    }
    for (event_type, request) in
        [("harbor.artifact.pushed", "request-of-push"), ("harbor.artifact.deleted", "request-of-delete")]
    {
        let event = catcher.next().json();
        assert_eq!(event["type"], event_type);
        assert_eq!(event["operator"], "alice");
        assert_eq!(event["requestid"], request);
        assert_eq!(event["time"], "2026-01-02T03:04:05Z");
        assert_eq!(event["data"]["resources"][0]["resource_url"], "127.0.0.1:5000/library/tiny:v1");
    }
    catcher.nothing_more();
}

/// A running docker-registry that tells the bridge; killed when dropped.
struct Registry {
    child: Child,
    address: SocketAddr,
}

impl Registry {
    fn start(dir: &Path, bridge: SocketAddr) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let storage = json!({ "filesystem": { "rootdirectory": dir.join("registry") }, "delete": { "enabled": true } });
        let endpoint = json!({
            "name": "bridge", "url": format!("http://{bridge}/distribution"),
            "timeout": "3s", "threshold": 3, "backoff": "200ms",
        });
        fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        let config = json!({
            "version": 0.1, "storage": storage, "http": { "addr": address.to_string() },
            "auth": { "htpasswd": { "realm": "test", "path": dir.join("htpasswd") } },
            "notifications": { "endpoints": [endpoint] },
        });
        // Every JSON text is YAML.
        fs::write(dir.join("registry.yml"), config.to_string()).unwrap();
        let log = fs::File::create(dir.join("registry.log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", "registry.yml"]).current_dir(dir).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|e| missing("docker-registry", &e));
        wait_for("docker-registry", || {
            if let Some(ended) = child.try_wait().unwrap() {
                panic!("docker-registry ended with {ended}: {}", fs::read_to_string(dir.join("registry.log")).unwrap());
            }
            TcpStream::connect(address).ok()
        });
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy keeps digests: skopeo would compress the layer on its way, and so change the manifest.
fn skopeo(dir: &Path, args: &[&str]) {
    let mut command = Command::new("skopeo");
    command
        .arg("--insecure-policy")
        .args(args)
        .args((args[0] == "copy").then_some("--preserve-digests"))
        .current_dir(dir)
        .stdin(Stdio::null());
    let done = command.output().unwrap_or_else(|e| missing("skopeo", &e));
    assert!(done.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn missing(program: &str, e: &std::io::Error) -> ! {
    panic!("{program}: {e}; this test needs Debian's packages: apt-get install docker-registry skopeo")
}

/// Writes an OCI image layout to `image`: one layer, one tag `v1`. Returns the manifest's digest.
fn write_image(dir: &Path) -> String {
    let image = dir.join("image");
    fs::create_dir_all(image.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8], media_type: &str| {
        let hex = sha256(dir, bytes);
        fs::write(image.join("blobs/sha256").join(&hex), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    };
    // An empty tar archive: two blocks of zeros.
    let layer = blob(&[0; 1024], "application/vnd.oci.image.layer.v1.tar");
    let rootfs = json!({ "type": "layers", "diff_ids": [layer["digest"]] });
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": rootfs }).to_string();
    let config = blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
    let mut manifest = blob(manifest.as_bytes(), MANIFEST);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(image.join("index.json"), index.to_string()).unwrap();
    fs::write(image.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    manifest["digest"].as_str().unwrap().to_owned()
}

/// By the coreutils, which every machine with these packages has.
fn sha256(dir: &Path, bytes: &[u8]) -> String {
    let file = dir.join("to-be-hashed");
    fs::write(&file, bytes).unwrap();
    let done = Command::new("sha256sum").arg(&file).output().unwrap();
    String::from_utf8(done.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
