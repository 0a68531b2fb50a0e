//! Holds the public port over TLS: the two versions, connections that are kept, crowds of new ones, and files that
//! are wrong.

use crate::program::{BEHIND_PROXY, Client, Home, Settings, UNITED_STATES, connected, eventually};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

type Secure = Client<StreamOwned<ClientConnection, TcpStream>>;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

fn section(certificate: &Path, key: &Path) -> String {
    format!("[door.tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n", certificate.display(), key.display())
}

fn home() -> Home {
    let sections = section(&data("certificate.pem"), &data("key.pem"));
    Home::new(Settings { door: BEHIND_PROXY, sections: &sections, ..Settings::default() })
}

/// A client that believes the certificate of these tests and no other.
fn connect(address: SocketAddr, version: &'static SupportedProtocolVersion) -> io::Result<Secure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data("certificate.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap().with_root_certificates(roots);
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).map_err(io::Error::other)?;
    Ok(Client::over(StreamOwned::new(connection, connected(address)?)))
}

#[test]
fn pixels_over_both_versions_are_stored_and_the_end_is_said() {
    let home = home();
    let program = home.start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect(program.public, version).unwrap();
        for _ in 0..3 {
            let answer = client.pixel_from(UNITED_STATES, "s=acme&u=https://shop.example/a");
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/gif")));
        }
        // Hyper's way, on the same connection.
        assert_eq!(client.get("/no-such-page", &[]).status, 404);
        let mut last = connect(program.public, version).unwrap();
        let answer = last.get("/p.gif?s=acme", &[("X-Forwarded-For", UNITED_STATES), ("Connection", "close")]);
        assert_eq!(answer.status, 200);
        // Without `close_notify` this would be an error (RFC 8446 §6.1: the end could be an attacker's).
        assert_eq!(last.into_stream().read(&mut [0; 1]).unwrap(), 0);
    }
    // Who asks without TLS is told nothing that could be taken for an answer.
    let mut plain = connected(program.public).unwrap();
    plain.write_all(b"GET /p.gif?s=acme HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told);
    assert!(!told.starts_with(b"HTTP"), "{told:?}");
    program.stop();
    home.await_rows(8);
}

#[test]
fn who_says_nothing_or_breaks_off_holds_nobody_up() {
    let home = home();
    let program = home.start();
    let public = program.public;
    let mut idle: Vec<TcpStream> = (0..40).map(|_| connected(public).unwrap()).collect();
    // The head of a handshake's first record, of which the rest never comes; and what is no handshake.
    for (stream, bytes) in idle.iter_mut().zip([&[0x16, 3, 1, 2, 0, 1, 0, 1][..], &[0x16], b"\r\n\r\n", &[0xff; 64]].into_iter().cycle().take(20)) {
        stream.write_all(bytes).unwrap();
    }
    let crowd: Vec<_> = (0..24)
        .map(|_| {
            thread::spawn(move || {
                let mut client = connect(public, &rustls::version::TLS13).unwrap();
                (0..2).all(|_| client.pixel_from(UNITED_STATES, "s=acme").status == 200)
            })
        })
        .collect();
    assert!(crowd.into_iter().all(|client| client.join().unwrap()));
    drop(idle);
    eventually("48 stored", || match program.ledger("acme")["stored"].as_u64() {
        Some(48) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    program.stop();
}

#[test]
fn files_that_are_wrong_are_told_by_name_before_a_port_is_open() {
    let home = Home::new(Settings::default());
    let (certificate, key) = (data("certificate.pem"), data("key.pem"));
    let (nothing, other) = (home.file("nothing.pem"), home.file("other.pem"));
    std::fs::write(&other, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    for (certificate, key, told) in [
        (&nothing, &key, format!("door.tls.certificate: {} cannot be read", nothing.display())),
        (&key, &key, format!("door.tls.certificate: {} cannot be read", key.display())),
        (&certificate, &nothing, format!("door.tls.private_key: {} cannot be read", nothing.display())),
        (&certificate, &certificate, format!("door.tls.private_key: {} cannot be read", certificate.display())),
        (&certificate, &other, "certificate and private key do not go together".to_owned()),
    ] {
        home.settle(Settings { sections: &section(certificate, key), ..Settings::default() });
        let (status, printed) = home.spawn().ended();
        assert_ne!(status.code(), Some(0));
        assert!(printed.contains(&told) && !printed.contains("  public  "), "{told}: {printed}");
        assert_ne!(home.run_here(&["check"]).status.code(), Some(0), "{told}");
    }
}
