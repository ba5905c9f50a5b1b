//! The bridge's flags that say where webhooks may go, and whom to trust there.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use crate::bridge::{policies, push};
use crate::running_bridge::{Bridge, refused_start, wait_for};
use crate::tls::https;
use crate::tls_of_targets::issuer;

/// Starts the bridge with a policy for this address.
fn starts(url: &str, flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let policies = policies(folder.path(), url, "Default");
    let bridge = Bridge::start(folder.path(), &[&["--store", "memory", "--policies", &policies], flags].concat());
    assert_eq!(bridge.stop("TERM").code(), Some(0));
}

/// Why it does not start with one.
fn refused(url: &str, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let policies = policies(folder.path(), url, "Default");
    let args = [&["--store", "memory", "--policies", &policies], flags].concat();
    let (code, words) = refused_start(folder.path(), &args);
    assert_eq!(code, Some(2), "{words}");
    words
}

#[test]
fn destinations_are_public_when_nothing_is_said() {
    let private = "http://10.1.2.3/hook";
    for flags in [&[][..], &["--destinations", "public"]] {
        let words = refused(private, flags);
        assert!(words.contains("10.1.2.3 is a private address"), "{words}");
    }
    starts(private, &["--destinations", "private"]);
    starts(private, &["--allow-network", "10.0.0.0/8"]);
    // Private is not this machine, nor a metadata service; a network is added to either.
    for url in ["http://127.0.0.1/", "http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://[fe80::1]/"] {
        assert!(refused(url, &["--destinations", "private"]).contains("allow it with"), "{url}");
    }
    starts("http://127.0.0.1/", &["--destinations", "private", "--allow-network", "127.0.0.0/8"]);
    let words = refused(private, &["--destinations", "everywhere"]);
    assert!(words.contains("--destinations") && words.contains("`public` nor `private`"), "{words}");
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn further_certificates_are_trusted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, key) = (issuer(), KeyPair::generate().unwrap());
    let cert = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let url = runtime.block_on(https(cert.der().clone(), &key));
    let folder = tempfile::tempdir().unwrap();
    let policies = policies(folder.path(), &url, "Default");
    let pem = write(folder.path(), "ca.pem", &ours.pem());
    let common = ["--store", "memory", "--policies", &policies, "--allow-network", "127.0.0.0/8", "--max-retry", "0"];
    for (flags, dead) in [(&["--ca", &*pem][..], 0), (&[], 1)] {
        let bridge = Bridge::start(folder.path(), &[&common[..], flags].concat());
        assert_eq!(bridge.post("/projects/2/events", "", &push("3.20")).0, 202);
        wait_for("the delivery's end", || {
            let health = bridge.healthz();
            (health["outbox"] == 0 && health["waiting"] == 0 && health["dead"] == dead).then_some(())
        });
    }
    for (file, why) in [("/nowhere.pem", "No such file"), (&*policies, "holds no certificate")] {
        let (code, words) = refused_start(folder.path(), &[&common[..], &["--ca", file]].concat());
        assert!(code == Some(2) && words.contains("--ca") && words.contains(why), "{words}");
    }
}
