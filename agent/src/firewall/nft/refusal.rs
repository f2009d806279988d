//! Why the kernel, or the way to it, said no.

use core::fmt::{self, Display, Formatter};
use std::io;

use super::connection::Failure;
use super::object::Object;

/// Why the firewall did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The process may not change the firewall (EPERM).
    NoPermission,
    /// The table belongs to another process, whose socket has this port.
    Owned(u32),
    /// There is no table of ours.
    NotInstalled,
    /// The table has no door of this name.
    UnknownDoor(String),
    /// The table does not guard this interface.
    NotGuarded(String),
    /// The set is full; its name.
    Full(String),
    /// The kernel lacks something that nf_tables needs for this.
    Lacks {
        /// What was refused: `rule 3 of chain knock`.
        object: String,
        /// The expression, its kernel option and its module.
        feature: String,
    },
    /// The kernel refused something else.
    Refused {
        /// What was refused: `rule 3 of chain knock`.
        object: String,
        /// Why, by its number.
        error: io::Error,
        /// The kernel's own sentence; often empty.
        sentence: String,
    },
    /// The rules kept changing while they were read.
    Restless,
    /// The kernel did not answer as it should.
    NoAnswer,
    /// The netlink socket failed.
    Socket(io::Error),
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPermission => f.write_str("no permission to change the firewall: run as root"),
            // The kernel chooses a process's number for the port of its first socket.
            Self::Owned(process) => write!(
                f,
                "the guard belongs to process {process}, which does not answer where the configuration \
                 has it listen (mend it if it cannot be read); 'kill -9 {process}' takes it away"
            ),
            Self::NotInstalled => {
                f.write_str("no guard is installed: there is no table inet postern")
            }
            Self::UnknownDoor(door) => write!(f, "the installed guard has no door '{door}'"),
            Self::NotGuarded(interface) => {
                write!(
                    f,
                    "the installed guard does not concern interface {interface}"
                )
            }
            Self::Full(set) => write!(f, "set {set} is full"),
            Self::Lacks { object, feature } => write!(f, "{object}: the kernel lacks {feature}"),
            Self::Refused {
                object,
                error,
                sentence,
            } if sentence.is_empty() => {
                write!(f, "{object}: {error}")
            }
            Self::Refused {
                object,
                error,
                sentence,
            } => write!(f, "{object}: {error} ({sentence})"),
            Self::Restless => f.write_str("the firewall's rules kept changing; try again"),
            Self::NoAnswer => f.write_str("the kernel did not answer a netlink request"),
            Self::Socket(error) => write!(f, "netlink socket: {error}"),
        }
    }
}

impl core::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused { error, .. } | Self::Socket(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// Says what failed for elements of a set, whose name is given in parts.
pub(crate) fn refused(set: &[&str], failure: Failure) -> Refusal {
    refused_object(&Object::Elements(set.concat()), failure)
}

/// Says what failed for an object.
pub(crate) fn refused_object(object: &Object, failure: Failure) -> Refusal {
    let (number, sentence) = match failure {
        Failure::Refused {
            number, sentence, ..
        } => (number, sentence),
        Failure::Restless => return Refusal::Restless,
        Failure::NoAnswer => return Refusal::NoAnswer,
        Failure::Socket(error) => return Refusal::Socket(error),
    };
    match (object, number) {
        (_, libc::EPERM) => return Refusal::NoPermission,
        // nf_tables' word for a set that is full, "too many open files", would mislead.
        (Object::Elements(set), libc::ENFILE) => return Refusal::Full(set.clone()),
        _ => {}
    }
    match lacking(object, number) {
        Some(feature) => Refusal::Lacks {
            object: object.to_string(),
            feature,
        },
        None => Refusal::Refused {
            object: object.to_string(),
            error: io::Error::from_raw_os_error(number),
            sentence,
        },
    }
}

/// What a kernel that answers this about an object was built without.
fn lacking(object: &Object, number: i32) -> Option<String> {
    const INET: &str = "filter chains of family inet (CONFIG_NF_TABLES_INET)";
    let missing = matches!(number, libc::ENOENT | libc::EOPNOTSUPP);
    match object {
        Object::Rule {
            needs: Some(feature),
            ..
        } if missing => Some(feature.to_string()),
        // The answers of nfnetlink where nobody takes messages for nf_tables.
        Object::Batch if matches!(number, libc::EOPNOTSUPP | libc::EINVAL) => {
            Some("nf_tables (CONFIG_NF_TABLES, module nf_tables)".to_owned())
        }
        Object::Chain(_) if missing => Some(INET.to_owned()),
        Object::Table if matches!(number, libc::EOPNOTSUPP | libc::EAFNOSUPPORT) => {
            Some(INET.to_owned())
        }
        Object::Set(_) if number == libc::EOPNOTSUPP => {
            Some("sets with timeouts or maps".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::nft::object::Feature;

    fn refused_with(object: &Object, number: i32) -> Refusal {
        let sentence = String::new();
        refused_object(
            object,
            Failure::Refused {
                position: 1,
                number,
                sentence,
            },
        )
    }

    /// What kernels answer that were built without a part: `nfnetlink_rcv_skb_batch` where nobody
    /// takes the batch, `nft_chain_parse_hook` and `nft_expr_type_get` where nobody has the type.
    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let rule = |needs| Object::Rule {
            number: 1,
            chain: "knock".into(),
            needs,
        };
        for (object, number, feature) in [
            (Object::Batch, libc::EOPNOTSUPP, "CONFIG_NF_TABLES"),
            (Object::Batch, libc::EINVAL, "CONFIG_NF_TABLES"),
            (Object::Table, libc::EAFNOSUPPORT, "CONFIG_NF_TABLES_INET"),
            (
                Object::Chain("input".into()),
                libc::ENOENT,
                "CONFIG_NF_TABLES_INET",
            ),
            (Object::Set("grant4_ssh".into()), libc::EOPNOTSUPP, "sets"),
            (rule(Some(Feature::Log)), libc::ENOENT, "module nft_log"),
            (rule(Some(Feature::LogLine)), libc::ENOENT, "nf_log_syslog"),
            (rule(Some(Feature::Limit)), libc::ENOENT, "module nft_limit"),
            (
                rule(Some(Feature::Conntrack)),
                libc::ENOENT,
                "module nft_ct",
            ),
        ] {
            let refusal = refused_with(&object, number);
            assert!(matches!(refusal, Refusal::Lacks { .. }), "{refusal:?}");
            assert!(refusal.to_string().contains(feature), "{refusal}");
        }
        for (object, number) in [
            (rule(None), libc::ENOENT),
            (rule(Some(Feature::Log)), libc::EINVAL),
            (Object::Table, libc::EEXIST),
        ] {
            let refusal = refused_with(&object, number);
            assert!(matches!(refusal, Refusal::Refused { .. }), "{refusal:?}");
        }
        let refusal = refused_with(&Object::Batch, libc::EPERM);
        assert!(matches!(refusal, Refusal::NoPermission));
    }
}
