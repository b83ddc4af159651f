//! Why there is no response, in sentences for the endpoint's owner: who reads them knows their own server
//! and not our libraries.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy::Error;
use rustls::{AlertDescription, CertificateError};

use super::client::SendError;
use super::connector::ConnectError;

/// An error and its causes, the outermost first.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        // What an I/O error wraps is not its source: that is the source of what it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
        Some(error)
    })
}

/// The first error of that type among an error and its causes.
pub fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

impl From<&Error> for SendError {
    fn from(error: &Error) -> Self {
        let refusal = cause::<ConnectError>(error);
        let unreached = error.is_connect() && refusal != Some(&ConnectError::NotPublic);
        let reason = match refusal {
            Some(refusal) => refusal.to_string(),
            None if error.is_connect() => format!("the connection could not be made: {}", sentence(error)),
            None => sentence(error),
        };
        Self { reason, unreached }
    }
}

fn sentence(error: &Error) -> String {
    if let Some(error) = cause::<rustls::Error>(error) {
        return tls(error);
    }
    if let Some(error) = cause::<h2::Error>(error) {
        let ended = if error.is_go_away() { "closed the connection" } else { "refused the request" };
        let reason = error.reason().map_or_else(String::new, |reason| format!(" ({reason:?})"));
        return format!("the receiver {ended} without a response{reason}");
    }
    match cause::<hyper::Error>(error) {
        Some(error) if error.is_parse_too_large() => {
            return "the head of the response is too large (1,000 headers and 256 KB are read), or says that the body is".into();
        }
        Some(error) if error.is_parse() => return "the response is not valid HTTP".into(),
        _ => {}
    }
    match chain(error).filter_map(|error| error.downcast_ref()).last().map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => "the connection timed out".into(),
        _ if error.is_connect() => "the receiver closed the connection during the TLS handshake".into(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => {
            "the receiver reset the connection without a response".into()
        }
        _ => "the receiver closed the connection without a response".into(),
    }
}

fn tls(error: &rustls::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, PeerIncompatible};
    match error {
        InvalidCertificate(error) => certificate(error).into(),
        AlertReceived(AlertDescription::CertificateRequired) => CLIENT_CERTIFICATE.into(),
        AlertReceived(AlertDescription::ProtocolVersion) | PeerIncompatible(_) => {
            "the receiver supports neither TLS 1.2 nor TLS 1.3 with a current cipher suite".into()
        }
        AlertReceived(AlertDescription::UnrecognisedName) => {
            "the receiver does not serve this host name over TLS".into()
        }
        AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::BadCertificate) => {
            "the receiver refused the TLS handshake: it may require a client certificate, which webhooks do \
             not have, or another cipher suite"
                .into()
        }
        AlertReceived(alert) => format!("the receiver ended the TLS connection with the alert {alert:?}"),
        InvalidMessage(_) => "the receiver does not speak TLS on this port".into(),
        _ => "the TLS handshake failed".into(),
    }
}

const CLIENT_CERTIFICATE: &str = "the receiver requires a client certificate, which webhooks do not have";

fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the receiver's TLS certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the receiver's TLS certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the receiver's TLS certificate is for another host name"
        }
        CertificateError::UnknownIssuer => {
            "the receiver's TLS certificate is self-signed or of an unknown authority, or intermediate \
             certificates are missing from what the receiver sends"
        }
        CertificateError::Revoked => "the receiver's TLS certificate was revoked",
        // The library has no kind of its own for a certificate that is its own authority.
        CertificateError::Other(error) if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "the receiver's TLS certificate is self-signed: webhooks need one of a known authority"
        }
        _ => "the receiver's TLS certificate is not valid",
    }
}
