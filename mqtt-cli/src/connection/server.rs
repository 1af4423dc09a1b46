//! Where the server is: from `-h`, `-p`, `--unix` and `--ws`, or from a URL.

use super::ConnectionOptions;
use crate::exit::Failure;
use martlet_tokio::{Endpoint, Settings};

/// A server, and what else its URL says.
pub(crate) struct Server {
    pub(crate) uri: String,
    pub(crate) endpoint: Endpoint,
    /// The path of a URL `mqtt://host/topic`.
    pub(crate) topic: Option<String>,
}

impl ConnectionOptions {
    /// The server of the command line; `None` where that of these settings, which are the
    /// configuration's, stays.
    pub(super) fn server(&self, settings: &Settings) -> Result<Option<Server>, Failure> {
        if let Some(url) = &self.url {
            return self.server_of_url(url).map(Some);
        }
        if let Some(path) = &self.unix {
            return self.server_of_unix(path).map(Some);
        }
        // The default host would be sent what is meant for the configuration's.
        if self.config.is_some() && self.host.is_none() {
            self.check_configured(settings)?;
            return Ok(None);
        }
        self.server_of_parts().map(Some)
    }

    fn server_of_url(&self, url: &str) -> Result<Server, Failure> {
        let (uri, topic) = split_topic(url)?;
        let endpoint = Endpoint::parse(uri)
            .map_err(|error| Failure::usage(format!("--url: the URL is wrong: {error}")))?;
        let is_tls = endpoint.scheme().is_tls();
        if let (Some(option), false) = (self.implies_tls(), is_tls) {
            return Err(Failure::usage(format!(
                "{option} is for TLS, and the scheme of --url is {}: write mqtts or wss",
                endpoint.scheme().name()
            )));
        }
        self.check_tls(is_tls)?;
        self.check_web_socket(endpoint.scheme().is_web_socket())?;
        Ok(Server {
            uri: uri.to_owned(),
            endpoint,
            topic,
        })
    }

    fn server_of_unix(&self, path: &std::path::Path) -> Result<Server, Failure> {
        if let Some(option) = self.implies_tls() {
            return Err(Failure::usage(format!(
                "{option} cannot be used with --unix: a Unix socket is not encrypted"
            )));
        }
        self.check_tls(false)?;
        self.check_web_socket(false)?;
        unix(path)
    }

    /// Whether the server of the configuration can have the options that are there without a host.
    fn check_configured(&self, settings: &Settings) -> Result<(), Failure> {
        let options = [
            (self.port.is_some(), "--port"),
            (self.ws, "--ws"),
            (self.ws_path.is_some(), "--ws-path"),
        ];
        if let Some((_, option)) = options.into_iter().find(|(is_given, _)| *is_given) {
            return Err(Failure::usage(format!(
                "{option} beside --config needs a host: add -h, or change the file"
            )));
        }
        let mut servers =
            std::iter::once(&settings.connection.uri).chain(&settings.martlet.servers);
        let is_open = servers
            .any(|uri| Endpoint::parse(uri.as_str()).is_ok_and(|server| !server.scheme().is_tls()));
        match self.implies_tls().or(self.needs_tls()) {
            Some(option) if is_open => Err(Failure::usage(format!(
                "{option} is for TLS, and the file of --config has a server without: add -h, or write mqtts or wss there"
            ))),
            _ => Ok(()),
        }
    }

    fn server_of_parts(&self) -> Result<Server, Failure> {
        let is_tls = self.implies_tls().is_some() || self.port == Some(8883);
        self.check_tls(is_tls)?;
        self.check_web_socket(self.ws)?;
        if self.ws_path.is_some() && !self.ws {
            return Err(Failure::usage("--ws-path needs WebSocket: add --ws"));
        }
        let scheme = match (is_tls, self.ws) {
            (false, false) => "mqtt",
            (true, false) => "mqtts",
            (false, true) => "ws",
            (true, true) => "wss",
        };
        let host = self.host.as_deref().unwrap_or("localhost");
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            // It may hold a password.
            return Err(Failure::usage(
                "--host: expected the name of a host; a URL goes to --url",
            ));
        }
        let mut uri = if host.contains(':') && !host.starts_with('[') {
            format!("{scheme}://[{host}]")
        } else {
            format!("{scheme}://{host}")
        };
        if let Some(port) = self.port {
            uri.push_str(&format!(":{port}"));
        }
        if self.ws {
            let path = self.ws_path.as_deref().unwrap_or("/mqtt");
            if !path.starts_with('/') {
                return Err(Failure::usage("--ws-path: a path begins with /"));
            }
            uri.push_str(path);
        }
        let endpoint = Endpoint::parse(&uri)
            .map_err(|error| Failure::usage(format!("--host, --port: {error}")))?;
        Ok(Server {
            uri,
            endpoint,
            topic: None,
        })
    }

    /// The first option that stands for TLS on its own.
    fn implies_tls(&self) -> Option<&'static str> {
        let options = [
            (self.tls, "--tls"),
            (self.cafile.is_some(), "--cafile"),
            (self.capath.is_some(), "--capath"),
            (self.cert.is_some(), "--cert"),
            (self.tls_use_os_certs, "--tls-use-os-certs"),
        ];
        let found = options.into_iter().find(|(is_given, _)| *is_given);
        found.map(|(_, name)| name)
    }

    /// The first option that has no meaning without TLS.
    fn needs_tls(&self) -> Option<&'static str> {
        let options = [
            (self.insecure, "--insecure"),
            (!self.tls_alpn.is_empty(), "--tls-alpn"),
            (self.server_name.is_some(), "--server-name"),
        ];
        let found = options.into_iter().find(|(is_given, _)| *is_given);
        found.map(|(_, name)| name)
    }

    fn check_tls(&self, is_tls: bool) -> Result<(), Failure> {
        match self.needs_tls() {
            Some(name) if !is_tls => Err(Failure::usage(format!(
                "{name} needs a connection over TLS: add --tls, --cafile or --tls-use-os-certs"
            ))),
            _ => Ok(()),
        }
    }

    fn check_web_socket(&self, is_web_socket: bool) -> Result<(), Failure> {
        if !self.header.is_empty() && !is_web_socket {
            return Err(Failure::usage(
                "--header needs WebSocket: add --ws, or a URL that begins with ws or wss",
            ));
        }
        Ok(())
    }
}

/// `mqtt://host/a/b` names the topic `a/b`, as with mosquitto; a path means something else with
/// the other schemes.
fn split_topic(url: &str) -> Result<(&str, Option<String>), Failure> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok((url, None));
    };
    if !["mqtt", "mqtts"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Ok((url, None));
    }
    match rest.split_once('/') {
        // The host would be the user name, and the topic a part of the password.
        Some((authority, topic)) if topic.contains('@') && !authority.contains('@') => {
            Err(Failure::usage(
                "--url: there is an @ behind the first /: in a user name and a password write / as %2F; name a topic with an @ with -t",
            ))
        }
        Some((authority, topic)) => {
            let end = scheme.len() + "://".len() + authority.len();
            let topic = Some(topic.to_owned()).filter(|topic| !topic.is_empty());
            Ok((&url[..end], topic))
        }
        None => Ok((url, None)),
    }
}

fn unix(path: &std::path::Path) -> Result<Server, Failure> {
    let wrong = |text| Failure::usage(format!("--unix: {text}"));
    let path = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
    let text = path
        .to_str()
        .ok_or_else(|| wrong("the path is not UTF-8".to_owned()))?;
    let mut uri = "mqtt+unix://".to_owned();
    for byte in text.bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    let endpoint = Endpoint::parse(&uri).map_err(|error| wrong(error.to_string()))?;
    Ok(Server {
        uri,
        endpoint,
        topic: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_mqtt_has_a_topic_and_others_have_a_path() {
        let split = |url| {
            let (uri, topic) = split_topic(url).unwrap();
            (uri.to_owned(), topic)
        };
        let with = |uri: &str, topic: &str| (uri.to_owned(), Some(topic.to_owned()));
        let without = |uri: &str| (uri.to_owned(), None);
        assert_eq!(split("mqtt://u:p@h:1/a/#"), with("mqtt://u:p@h:1", "a/#"));
        assert_eq!(split("MQTTS://h/+/x"), with("MQTTS://h", "+/x"));
        assert_eq!(split("mqtt://h/"), without("mqtt://h"));
        assert_eq!(split("mqtt://h"), without("mqtt://h"));
        assert_eq!(split("ws://h/mqtt"), without("ws://h/mqtt"));
        assert_eq!(split("mqtt+unix:///run/s"), without("mqtt+unix:///run/s"));
        assert_eq!(split("nonsense"), without("nonsense"));
        assert_eq!(split("mqtt://u:p@h/a@b"), with("mqtt://u:p@h", "a@b"));
        let failure = split_topic("mqtt://ann:12/secret@h").unwrap_err();
        assert!(!failure.to_string().contains("secret"), "{failure:?}");
    }
}
