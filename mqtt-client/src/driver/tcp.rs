//! TCP sockets of the operating system, set up; where there are none, a runtime has its own.

use crate::driver::socket::SocketOptions;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpStream};

impl SocketOptions {
    /// A non-blocking TCP socket, set up, whose connection to `address` has begun: it is made when
    /// the socket becomes writable, unless [`take_error`](TcpStream::take_error) then has an error.
    ///
    /// # Errors
    /// The system's, with the option that it rejected.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = non_blocking(Domain::for_address(address))?;
        option("no_delay", socket.set_tcp_nodelay(self.no_delay))?;
        if let Some(time) = self.keep_alive {
            option(
                "keep_alive",
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time)),
            )?;
        }
        if let Some(size) = self.send_buffer {
            option("send_buffer", socket.set_send_buffer_size(size))?;
        }
        if let Some(size) = self.receive_buffer {
            option("receive_buffer", socket.set_recv_buffer_size(size))?;
        }
        if let Some(device) = &self.device {
            option("device", bind_device(&socket, device))?;
        }
        if let Some(local) = self.local_address {
            option(
                "local_address",
                socket.bind(&SocketAddr::new(local, 0).into()),
            )?;
        }
        match socket.connect(&address.into()) {
            Err(error) if !is_under_way(&error) => Err(error),
            _ => Ok(socket.into()),
        }
    }
}

/// One system call where there is one for it.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn non_blocking(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn non_blocking(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn option(name: &str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| io::Error::new(error.kind(), format!("socket option {name}: {error}")))
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn bind_device(_socket: &Socket, _device: &str) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "not supported on this system",
    ))
}

fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::{IpAddr, Ipv4Addr, TcpListener};
    use std::time::Duration;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn sets_what_is_asked_for() {
        let (listener, address) = listener();
        let options = SocketOptions {
            no_delay: false,
            keep_alive: Some(Duration::from_secs(77)),
            send_buffer: Some(16 * 1024),
            receive_buffer: Some(24 * 1024),
            local_address: Some(Ipv4Addr::LOCALHOST.into()),
            ..SocketOptions::default()
        };
        let socket = options.connect(address).unwrap();
        listener.accept().unwrap();
        let set = SockRef::from(&socket);
        assert!(!set.tcp_nodelay().unwrap() && set.keepalive().unwrap());
        assert!((16 * 1024..64 * 1024).contains(&set.send_buffer_size().unwrap()));
        assert!((24 * 1024..64 * 1024).contains(&set.recv_buffer_size().unwrap()));
        let socket = SocketOptions::default().connect(address).unwrap();
        listener.accept().unwrap();
        let set = SockRef::from(&socket);
        assert!(set.tcp_nodelay().unwrap() && !set.keepalive().unwrap());
    }

    #[test]
    fn says_which_option_was_rejected() {
        let (_listener, address) = listener();
        let foreign = Some(IpAddr::from([192, 0, 2, 1]));
        let options = SocketOptions {
            local_address: foreign,
            ..SocketOptions::default()
        };
        let error = options.connect(address).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("socket option local_address: "),
            "{error}"
        );
        let options = SocketOptions {
            device: Some("no such device".into()),
            ..SocketOptions::default()
        };
        let error = options.connect(address).unwrap_err();
        assert!(
            error.to_string().starts_with("socket option device: "),
            "{error}"
        );
    }
}
