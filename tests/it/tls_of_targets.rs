//! What a target says about TLS: whom its server may descend from, and who the sender is.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use harbor_webhook::delivery::{DeadReason, FailureKind, State};
use harbor_webhook::policy::{Address, ClientIdentity, PolicyDraft, PolicyTarget, Target};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::transport::{Request, ReqwestTransport, Response, Transport, TransportError};
use harbor_webhook::{ErrorKind, EventType, Webhooks};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::tls::{https, serve};

type Issuer = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn issuer() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of this issuer for a host, valid until that year.
fn issue(issuer: &Issuer, key: &KeyPair, host: &str, until: i32) -> CertificateDer<'static> {
    issued(issuer, key, host, until).der().clone()
}

fn issued(issuer: &Issuer, key: &KeyPair, host: &str, until: i32) -> rcgen::Certificate {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.signed_by(key, issuer).unwrap()
}

/// A server that serves only those who show a certificate of this issuer.
async fn asking(server: &Issuer, clients: &Issuer) -> String {
    let key = KeyPair::generate().unwrap();
    let cert = issue(server, &key, "127.0.0.1", 4000);
    let mut roots = RootCertStore::empty();
    roots.add(clients.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    serve(config.with_single_cert(vec![cert], key).unwrap()).await
}

/// A certificate and its key.
fn identity(issuer: &Issuer) -> String {
    let key = KeyPair::generate().unwrap();
    issued(issuer, &key, "registry.example.com", 4000).pem() + &key.serialize_pem()
}

async fn send(url: &str, ca_bundle: &str, identity: Option<&str>) -> Result<Response, TransportError> {
    let (address, destination): (Address, _) = (url.parse().unwrap(), loopback());
    let bundle = ca_bundle.parse().unwrap();
    let identity = identity.map(|pem| pem.parse().unwrap());
    let mut request = Request::new(&address, Bytes::from_static(b"{}"), &destination);
    request.ca_bundle = Some(&bundle);
    request.client_identity = identity.as_ref();
    ReqwestTransport::new().send(request).await
}

async fn refused(url: &str, ca_bundle: &str, identity: Option<&str>) -> String {
    let error = send(url, ca_bundle, identity).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Tls, "{error}");
    assert!(!error.to_string().contains("SECRET"), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_must_descend_from_the_bundle_be_in_time_and_be_the_host() {
    let (ours, other) = (issuer(), issuer());
    let key = KeyPair::generate().unwrap();
    let good = https(issue(&ours, &key, "127.0.0.1", 4000), &key).await;
    assert_eq!(send(&good, &ours.pem(), None).await.unwrap().status, 200);
    assert_eq!(send(&good, &(other.pem() + &ours.pem()), None).await.unwrap().status, 200);
    refused(&good, &other.pem(), None).await;
    let expired = https(issue(&ours, &key, "127.0.0.1", 2021), &key).await;
    assert!(refused(&expired, &ours.pem(), None).await.contains("expired"));
    let elsewhere = https(issue(&ours, &key, "ci.example.com", 4000), &key).await;
    assert!(refused(&elsewhere, &ours.pem(), None).await.contains("not valid for"));
}

#[tokio::test]
async fn a_server_that_asks_is_shown_the_targets_certificate() {
    let (ours, clients, other) = (issuer(), issuer(), issuer());
    let url = asking(&ours, &clients).await;
    let answer = send(&url, &ours.pem(), Some(&identity(&clients))).await.unwrap();
    assert_eq!(answer.status, 200);
    // The server says so after the handshake, and it is still a failure of TLS.
    refused(&url, &ours.pem(), None).await;
    refused(&url, &ours.pem(), Some(&identity(&other))).await;
}

#[tokio::test]
async fn each_target_has_its_own() {
    let (ours, clients) = (issuer(), issuer());
    let url = asking(&ours, &clients).await;
    let mut settings = impatient();
    settings.retry.max_retries = 0;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).build().unwrap();
    let stranger = Target::http(&url).unwrap().ca_bundle(&ours.pem()).unwrap();
    let known = stranger.clone().client_identity(&identity(&clients)).unwrap();
    let distrustful = known.clone().ca_bundle(&clients.pem()).unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
    let draft = draft.target(known).target(stranger).target(distrustful);
    let policy = hooks.policies().create(PROJECT, draft).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    end_state(&hooks).await;
    running.stop().await;
    let all = hooks.deliveries(&Filter::all(), Page::first(10)).await.unwrap();
    let state = |target: &PolicyTarget| all.iter().find(|delivery| delivery.target_id == target.id).unwrap().state;
    let states: Vec<_> = policy.targets.iter().map(state).collect();
    let dead = State::Dead(DeadReason::Exhausted);
    assert_eq!(states, [State::Delivered, dead, dead]);
}

/// A server that notes under which certificate each request came, and keeps its connections. Gives what was noted.
async fn noting(server: &Issuer, clients: &Issuer) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let key = KeyPair::generate().unwrap();
    let cert = issue(server, &key, "127.0.0.1", 4000);
    let mut roots = RootCertStore::empty();
    roots.add(clients.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(vec![cert], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, notes) = (acceptor.clone(), Arc::clone(&notes));
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec()).unwrap_or_default();
                while let Ok(1..) = stream.read(&mut [0; 4096]).await {
                    notes.lock().unwrap().push(shown.clone());
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    });
    (url, noted)
}

/// The connection of one target, kept, would speak in its name for the other.
#[tokio::test]
async fn targets_with_different_certificates_share_no_connection() {
    let (ours, clients) = (issuer(), issuer());
    let (url, noted) = noting(&ours, &clients).await;
    let (address, destination): (Address, _) = (url.parse().unwrap(), loopback());
    let (one, other): (ClientIdentity, ClientIdentity) =
        (identity(&clients).parse().unwrap(), identity(&clients).parse().unwrap());
    let shown = |identity: Option<&ClientIdentity>| {
        let pem = identity.map(|identity| CertificateDer::from_pem_slice(identity.expose().as_bytes()).unwrap());
        pem.map(|der| der.to_vec()).unwrap_or_default()
    };
    let bundle = ours.pem().parse().unwrap();
    let transport = ReqwestTransport::new();
    let order = [Some(&one), Some(&other), None, Some(&one), Some(&other), None];
    for skip in [false, true] {
        for identity in order {
            let mut request = Request::new(&address, Bytes::from_static(b"{}"), &destination);
            (request.client_identity, request.ca_bundle, request.skip_cert_verify) = (identity, Some(&bundle), skip);
            assert_eq!(transport.send(request).await.unwrap().status, 200);
        }
        assert_eq!(std::mem::take(&mut *noted.lock().unwrap()), order.map(shown));
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_when_it_is_saved() {
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).build().unwrap();
    let target = || Target::http("https://127.0.0.1/").unwrap();
    let ours = issuer();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nczNjcjN0\n-----END CERTIFICATE-----\n";
    let cases = [
        target().ca_bundle(no_certificate),
        target().client_identity(&format!("{no_certificate}{key}")),
        // A key of somebody else.
        target().client_identity(&format!("{}{key}", ours.pem())),
    ];
    for (n, target) in cases.into_iter().enumerate() {
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target.unwrap());
        let error = hooks.policies().create(PROJECT, draft).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{n}");
        let message = error.to_string();
        assert!(message.starts_with("ca_bundle or client_identity: ") && !message.contains("czNj"), "{n}: {message}");
    }
    let good = target().ca_bundle(&ours.pem()).unwrap().client_identity(&identity(&ours)).unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(good);
    hooks.policies().create(PROJECT, draft).await.unwrap();
}
