//! The endpoint that is measured: address, API, key.

use hyper::Uri;
use hyper::header::HeaderValue;

/// An OpenAI-compatible server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its URL, as given.
    pub url: String,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path before `/completions`.
    base: String,
    /// `Host` of requests.
    pub authority: HeaderValue,
    /// `Authorization` of requests.
    pub authorization: Option<HeaderValue>,
}

/// Why a URL is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a URL of a server.
    #[error("`{url}` is {what}; expected a URL such as http://127.0.0.1:8000 or https://HOST/v1")]
    Url {
        /// The URL.
        url: String,
        /// What it is instead.
        what: &'static str,
    },
    /// The key cannot be a header.
    #[error("the API key has characters that no header can have; expected visible ASCII")]
    Key,
}

impl Endpoint {
    /// The server at `url`; `/v1` is its path if it has none.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn new(url: &str, key: Option<&str>) -> Result<Self, EndpointError> {
        let wrong = |what| EndpointError::Url {
            url: url.to_owned(),
            what,
        };
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("without a host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("with a user name, which records would keep"));
        }
        if uri.query().is_some() {
            return Err(wrong("with a query"));
        }
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let base = match uri.path().trim_end_matches('/') {
            "" => "/v1".to_owned(),
            path => path.to_owned(),
        };
        let authorization = key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))?;
            value.set_sensitive(true);
            Ok::<_, hyper::header::InvalidHeaderValue>(value)
        });
        Ok(Self {
            url: url.to_owned(),
            is_tls,
            host,
            port,
            base,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("not a URL"))?,
            authorization: authorization.transpose().map_err(|_| EndpointError::Key)?,
        })
    }

    /// The path of `name` below the base.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// The head of a request with a body of JSON, for clients that write it themselves.
    pub fn head(&self, name: &str, body_bytes: usize) -> Vec<u8> {
        let mut head = format!("POST {} HTTP/1.1\r\nHost: ", self.path(name)).into_bytes();
        head.extend_from_slice(self.authority.as_bytes());
        if let Some(authorization) = &self.authorization {
            head.extend_from_slice(b"\r\nAuthorization: ");
            head.extend_from_slice(authorization.as_bytes());
        }
        let rest =
            format!("\r\nContent-Type: application/json\r\nContent-Length: {body_bytes}\r\n\r\n");
        head.extend_from_slice(rest.as_bytes());
        head
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn urls() {
        let path = |url| {
            let endpoint = Endpoint::new(url, None).expect("a URL");
            let own = endpoint.path("completions");
            (endpoint.host, endpoint.port, endpoint.is_tls, own)
        };
        let v1 = "/v1/completions".to_owned();
        let local = "127.0.0.1".to_owned();
        assert_eq!(
            path("http://127.0.0.1:8000"),
            (local, 8000, false, v1.clone())
        );
        let own = (
            "host".to_owned(),
            443,
            true,
            "/api/v3/completions".to_owned(),
        );
        assert_eq!(path("https://host/api/v3/"), own);
        assert_eq!(path("http://[::1]/"), ("::1".to_owned(), 80, false, v1));
        for wrong in [
            "",
            "127.0.0.1:8000",
            "ftp://host",
            "http://",
            "http://u:p@h",
            "http://h/?q",
        ] {
            Endpoint::new(wrong, None).expect_err(wrong);
        }
        Endpoint::new("http://h", Some("a\nb")).expect_err("no header");
    }
}
