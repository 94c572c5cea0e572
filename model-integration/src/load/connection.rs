//! Connections to an endpoint, kept between requests.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::failure::Failure;

/// A connection that takes one request at a time.
pub type Connection = SendRequest<Full<Bytes>>;

/// Makes connections, and keeps those that wait for another request.
pub struct Connections {
    endpoint: Arc<Endpoint>,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<Connection>>,
}

impl Connections {
    /// Connections to an endpoint; none is made yet.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let tls = endpoint.is_tls.then(|| {
            let roots = RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
            let config = ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        Self {
            endpoint,
            tls,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A connection that has been used before, if one is open.
    pub fn kept(&self) -> Option<Connection> {
        loop {
            let idle = self.idle().pop()?;
            if idle.is_ready() {
                return Some(idle);
            }
        }
    }

    /// Keeps a connection whose answer has been read.
    pub fn give_back(&self, connection: Connection) {
        if !connection.is_closed() {
            self.idle().push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`Failure`] if none can be made.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let Endpoint { host, port, .. } = &*self.endpoint;
        let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
        let unresolved = |reason: String| Failure::Unresolved {
            host: host.clone(),
            reason,
        };
        let addresses = addresses.map_err(|error| unresolved(error.to_string()))?;
        let mut failure = unresolved("the list is empty".to_owned());
        let mut stream = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(open) => {
                    stream = Some(open);
                    break;
                }
                Err(error) => failure = Failure::connecting(&error),
            }
        }
        let stream = stream.ok_or(failure)?;
        let set = stream.set_nodelay(true);
        set.map_err(|error| Failure::connecting(&error))?;
        let Some(tls) = &self.tls else {
            return handshake(stream).await;
        };
        let of_tls = |error: &dyn std::error::Error| Failure::Tls(error.to_string());
        let name = ServerName::try_from(host.clone()).map_err(|error| of_tls(&error))?;
        let stream = tls.connect(name, stream).await;
        handshake(stream.map_err(|error| of_tls(&error))?).await
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let opened = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(|error| Failure::of_connection(&error, "at once"))?;
    // Its errors reach the request that uses it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
