//! The transport against real TLS servers: what is trusted, what is refused, and how it is called.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::FailureKind;
use harbor_webhook::policy::Address;
use harbor_webhook::transport::{DestinationPolicy, Request, ReqwestTransport, Response, Transport, TransportError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where the child process finds the certificates that it trusts: the only roots that the platform's verifier looks at then.
const ROOTS: &str = "SSL_CERT_FILE";

async fn send(url: &str, skip_cert_verify: bool) -> Result<Response, TransportError> {
    let address: Address = url.parse().unwrap();
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8").unwrap();
    let mut request = Request::new(&address, Bytes::from_static(b"{}"), &destination);
    request.skip_cert_verify = skip_cert_verify;
    ReqwestTransport::new().send(request).await
}

/// A server that does this with each connection; its URL ends with what no message may show.
async fn server<F: Future<Output = ()> + Send>(then: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/T0/SECRET?k=SECRET", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            then(stream).await;
        }
    });
    url
}

/// A server that shakes hands with this certificate and answers 200.
pub(crate) async fn https(cert: CertificateDer<'static>, key: &KeyPair) -> String {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    serve(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap()).await
}

/// A server with these settings that answers 200.
pub(crate) async fn serve(config: ServerConfig) -> String {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    })
    .await
}

/// A certificate that vouches for itself.
async fn self_signed() -> String {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    https(cert.der().clone(), &key).await
}

/// The failure's class and words; no word gives the address away.
async fn refused(url: &str, skip_cert_verify: bool) -> (FailureKind, String) {
    let error = send(url, skip_cert_verify).await.unwrap_err();
    let words = error.to_string();
    assert!(!words.contains("SECRET") && !words.contains("https://"), "{words}");
    (error.kind(), words)
}

#[tokio::test]
async fn a_self_signed_certificate_needs_the_targets_word() {
    let url = self_signed().await;
    let (kind, words) = refused(&url, false).await;
    assert_eq!(kind, FailureKind::Tls, "{words}");
    assert!(words.contains("certificate"), "{words}");
    let answer = send(&url, true).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_is_not_tls_is_told_apart_from_what_does_not_answer() {
    let plain = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    });
    let plain = plain.await;
    let breaks_off = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    });
    let breaks_off = breaks_off.await;
    // `handshake_failure`, as a server sends it that shares no version or cipher.
    let alert = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await;
    });
    let alert = alert.await;
    let stalls = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(stream);
    });
    let stalls = stalls.await;
    // Not to verify a certificate is not to do without one.
    for skip in [false, true] {
        assert_eq!(refused(&plain, skip).await.0, FailureKind::Tls);
        assert_eq!(refused(&alert, skip).await.0, FailureKind::Tls);
        assert_eq!(refused(&breaks_off, skip).await.0, FailureKind::Tls);
    }
    assert_eq!(refused(&stalls, false).await.0, FailureKind::Timeout);
}

/// The roots are read from the environment, which a process sets for its children only: the test runs itself again.
#[test]
fn a_certificate_must_be_of_the_roots_of_the_time_and_of_the_host() {
    if std::env::var_os(ROOTS).is_some_and(|file| file.to_string_lossy().contains("harbor-webhook-roots")) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(certificates_of_a_trusted_issuer());
    }
    let folder = tempfile::Builder::new().prefix("harbor-webhook-roots").tempdir().unwrap();
    let name = "tls::a_certificate_must_be_of_the_roots_of_the_time_and_of_the_host";
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROOTS, folder.path().join("roots.pem"))
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}{}", String::from_utf8_lossy(&again.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

async fn certificates_of_a_trusted_issuer() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(std::env::var_os(ROOTS).unwrap(), issuer.pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let issue = |host: &str, until_year| {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        params.signed_by(&key, &issuer).unwrap().der().clone()
    };
    let good = https(issue("127.0.0.1", 4000), &key).await;
    assert_eq!(send(&good, false).await.unwrap().status, 200);
    let (kind, words) = refused(&https(issue("127.0.0.1", 2021), &key).await, false).await;
    assert_eq!(kind, FailureKind::Tls, "{words}");
    assert!(words.contains("expired"), "{words}");
    let (kind, words) = refused(&https(issue("ci.example.com", 4000), &key).await, false).await;
    assert_eq!(kind, FailureKind::Tls, "{words}");
    assert!(words.contains("not valid for"), "{words}");
    assert_eq!(refused(&self_signed().await, false).await.0, FailureKind::Tls);

    // A target's bundle stands in the place of these roots, further roots beside them.
    let other = crate::tls_of_targets::issuer();
    let address: Address = good.parse().unwrap();
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8").unwrap();
    let bundle = other.pem().parse().unwrap();
    let mut request = Request::new(&address, Bytes::new(), &destination);
    let trusting = ReqwestTransport::new().trust(other.pem().parse().unwrap());
    assert_eq!(trusting.send(request.clone()).await.unwrap().status, 200);
    request.ca_bundle = Some(&bundle);
    assert_eq!(trusting.send(request).await.unwrap_err().kind(), FailureKind::Tls);
}
