//! Judges datagrams: what is cheap comes first, and nothing is decrypted that is not authentic.

use core::net::IpAddr;

use super::budget::Budget;
use super::message::{Message, Unread, unpadded};
use super::refusal::{Refusal, Refusals};
use super::replay::Replays;
use super::wipe::Wiped;
use super::wire::{self, FINGERPRINT, MOST_BLOCKS, PREFIX, Parts, Tag};
use super::{Allow, Hmac, Terms, base64};
use crate::door::{Door, DoorSet, MAX_DOORS};
use crate::knock::Knock;
use crate::packet;
use crate::time::{Duration, Instant};

/// What is done with a door's keys, which core never sees. A door is known by its index.
pub trait Cryptography {
    /// Whether the tag is the HMAC of a text, given in two pieces, under a door's key. Tags are compared in a time that
    /// does not tell how much of them is right.
    fn is_authentic(&mut self, door: usize, hmac: Hmac, text: [&[u8]; 2], tag: &[u8]) -> bool;

    /// Decrypts blocks in place: AES-256-CBC, with key and IV as OpenSSL's `EVP_BytesToKey` makes them by MD5, once, of
    /// a door's passphrase and the salt. Whether it could.
    fn decrypt(&mut self, door: usize, salt: [u8; 8], blocks: &mut [[u8; 16]]) -> bool;
}

/// Whom a datagram lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Through which door.
    pub door: usize,
    /// Whom.
    pub source: IpAddr,
    /// For how long.
    pub lasting: Duration,
    /// When it was made, in seconds of Unix time, as its sender's clock has it. Once it is on record, no floor may be
    /// set below.
    pub time: u64,
}

/// Why a datagram opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Of several doors at its port, what the one says that got furthest.
    pub why: Refusal,
    /// That door, if it has the keys that the datagram was made with.
    pub door: Option<usize>,
    /// By how many seconds its sender's clock is ahead of this machine's, or behind if it is negative. For
    /// [`Refusal::Age`].
    pub difference: Option<i64>,
}

impl Refused {
    const fn anonymous(why: Refusal) -> Self {
        Self {
            why,
            door: None,
            difference: None,
        }
    }
}

/// Judges datagrams, and remembers those that were used.
///
/// Nothing in it but zeros until then, so that a `static` costs no memory before it is used.
pub struct Verifier {
    replays: Replays,
    budget: Budget,
    /// By door: which of the keys it has.
    keys: [u8; MAX_DOORS],
    refusals: Refusals,
}

/// What is remembered of an authentic datagram.
struct Seen {
    tag: [u8; FINGERPRINT],
    keys: u8,
    time: u64,
    until: u64,
}

impl Verifier {
    /// One that accepts nothing yet.
    pub const fn new() -> Self {
        Self {
            replays: Replays::new(),
            budget: Budget::new(),
            keys: [0; MAX_DOORS],
            refusals: Refusals::NONE,
        }
    }

    /// Begins with other doors: for each, a number that it shares with those that have the same keys, such as the index
    /// of the first of them. No door accepts anything before its floor is set. What was used stays so.
    pub fn configure(&mut self, keys: &[usize]) {
        self.replays.forget_keys();
        for (own, keys) in self.keys.iter_mut().zip(keys) {
            // Of doors there are no more than that.
            *own = u8::try_from(*keys).unwrap_or(u8::MAX);
        }
    }

    /// Lets a door, and those with the same keys, accept what was made after this second of Unix time. Of several,
    /// the greatest counts, until other doors are configured.
    pub fn set_floor(&mut self, door: usize, floor: u64) {
        if let Some(keys) = self.keys.get(door) {
            self.replays.raise(*keys, floor);
        }
    }

    /// How many HMACs may be computed in a second; none, before it is set.
    pub fn set_budget(&mut self, checks_per_second: u32) {
        self.budget.set_rate(checks_per_second);
    }

    /// Hashes networks with this key from now on, which should be random.
    pub const fn seed(&mut self, key: [u8; 8]) {
        self.budget.seed(key);
    }

    /// How often it refused, and why.
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Judges a datagram for the doors, of these, that listen at its port and hear its sender: they are asked in their
    /// order, and the first that accepts it ends that. `unix` is this machine's time, in seconds, if it can be trusted.
    pub fn verify(
        &mut self,
        now: Instant,
        unix: Option<u64>,
        knock: &Knock<'_>,
        doors: &[Door],
        at: DoorSet,
        crypto: &mut dyn Cryptography,
    ) -> Result<Accepted, Refused> {
        let mut seen = None;
        let judged = self.judge(now, unix, knock, doors, at, crypto, &mut seen);
        if let Some(seen) = seen {
            let Seen {
                tag,
                keys,
                time,
                until,
            } = seen;
            self.replays.insert(tag, keys, time, until, unix);
        }
        judged.inspect_err(|refused| self.refusals.count(refused.why))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "those of its only caller, and a place for what it saw"
    )]
    fn judge(
        &mut self,
        now: Instant,
        unix: Option<u64>,
        knock: &Knock<'_>,
        doors: &[Door],
        at: DoorSet,
        crypto: &mut dyn Cryptography,
        seen: &mut Option<Seen>,
    ) -> Result<Accepted, Refused> {
        let Knock {
            source, payload, ..
        } = *knock;
        let mut is_in_alphabet = None;
        let mut refused = Refused::anonymous(Refusal::Length);
        let mut further = |other: Refused| {
            if other.why > refused.why {
                refused = other;
            }
        };
        let mut payer = None;
        for index in at {
            let door = doors.get(index);
            let Some((door, terms)) = door.and_then(|door| Some((door, door.method.spa()?))) else {
                continue;
            };
            if wire::blocks(payload.len(), terms.hmac).is_none() {
                continue;
            }
            let is_in_alphabet =
                *is_in_alphabet.get_or_insert_with(|| wire::is_in_alphabet(payload));
            let parts = Parts::of(payload, terms.hmac).filter(|_| is_in_alphabet);
            let tagged = parts.and_then(|parts| Some((parts, Tag::of(parts)?)));
            let Some((Parts { ciphertext, .. }, tag)) = tagged else {
                further(Refused::anonymous(Refusal::Form));
                continue;
            };
            if self.replays.contains(tag.fingerprint()) {
                return Err(Refused::anonymous(Refusal::Replayed));
            }
            if payer.is_none() {
                payer = self.budget.admit(now, source);
            }
            let Some(payer) = &payer else {
                return Err(Refused::anonymous(Refusal::Budget));
            };
            self.budget.charge(payer);
            if !crypto.is_authentic(index, terms.hmac, [PREFIX, ciphertext], tag.octets()) {
                further(Refused::anonymous(Refusal::Unauthentic));
                continue;
            }
            let keys = self.keys.get(index).copied().unwrap_or(u8::MAX);
            let mut message = Message::new();
            let read = read(&mut message, index, ciphertext, crypto);
            let time = match read {
                Ok(()) => Some(message.time),
                Err(Unread { time, .. }) => time,
            };
            // Whatever the door says: nobody is to use it where it was refused for now.
            if let Some(time) = time {
                let until = time.saturating_add(terms.max_age.as_millis() / 1000);
                *seen = Some(Seen {
                    tag: tag.fingerprint(),
                    keys,
                    time,
                    until: until.max(seen.as_ref().map_or(0, |seen| seen.until)),
                });
            }
            let asked = Asked {
                unix,
                source,
                takes: time.is_some_and(|time| self.replays.takes(keys, time)),
            };
            match read
                .map_err(|unread| (unread.why, None))
                .and_then(|()| asked.answer(&message, door, terms))
            {
                Ok((source, lasting)) => {
                    return Ok(Accepted {
                        door: index,
                        source,
                        lasting,
                        time: message.time,
                    });
                }
                Err((why, difference)) => further(Refused {
                    why,
                    door: Some(index),
                    difference,
                }),
            }
        }
        Err(refused)
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

/// Decrypts a message and reads it.
fn read(
    message: &mut Message,
    door: usize,
    ciphertext: &[u8],
    crypto: &mut dyn Cryptography,
) -> Result<(), Unread> {
    let garbled = Unread {
        why: Refusal::Garbled,
        time: None,
    };
    let mut buffer = Wiped::<[u8; 16 * (MOST_BLOCKS + 1)]>::new();
    let text = base64::decode([PREFIX, ciphertext], &mut buffer.0).ok_or(garbled)?;
    let length = text.len();
    let (blocks, _) = buffer.0.as_chunks_mut::<16>();
    let blocks = blocks.get_mut(..length / 16).unwrap_or_default();
    let (first, blocks) = blocks.split_first_mut().ok_or(garbled)?;
    let (_, salt) = first.split_last_chunk().ok_or(garbled)?;
    if !crypto.decrypt(door, *salt, blocks) {
        return Err(garbled);
    }
    message.read(unpadded(blocks.as_flattened()).ok_or(garbled)?)
}

/// What is asked of a message beside what it says.
struct Asked {
    unix: Option<u64>,
    /// Who sent it, as far as anybody knows.
    source: IpAddr,
    /// Whether it is newer than the floor.
    takes: bool,
}

impl Asked {
    /// Whom to let in, and for how long.
    fn answer(
        &self,
        message: &Message,
        door: &Door,
        terms: &Terms,
    ) -> Result<(IpAddr, Duration), (Refusal, Option<i64>)> {
        let is_users = terms.user.is_empty() || terms.user.as_bytes() == message.user();
        if !is_users {
            return Err((Refusal::User, None));
        }
        let unix = self.unix.ok_or((Refusal::Clock, None))?;
        let difference = message.time.abs_diff(unix);
        if Duration::from_secs(difference) > terms.max_age {
            let difference = i64::try_from(difference).unwrap_or(i64::MAX);
            let difference = match message.time > unix {
                true => difference,
                false => -difference,
            };
            return Err((Refusal::Age, Some(difference)));
        }
        if !self.takes {
            return Err((Refusal::Used, None));
        }
        let mut request = message.request();
        let address = request
            .address
            .and_then(|address| self.whom(address, terms.allow))
            .filter(|address| door.hears(*address))
            .ok_or((Refusal::Address, None))?;
        let mut are_some = false;
        let are_guarded = request.ports.all(|port| {
            are_some = true;
            port.is_some_and(|port| door.guards(port))
        });
        if !are_guarded || !are_some {
            return Err((Refusal::Ports, None));
        }
        let lasting = message.timeout.map(|timeout| timeout.min(terms.grant_max));
        Ok((address, lasting.unwrap_or(door.grant)))
    }

    /// Whom a message lets in that names this address.
    fn whom(&self, named: IpAddr, allow: Allow) -> Option<IpAddr> {
        let sender = self.source.to_canonical();
        let address = match allow {
            Allow::Named => named,
            Allow::Sender => Some(named).filter(|named| *named == sender)?,
            Allow::Any if named.is_unspecified() => sender,
            Allow::Any => named,
        };
        // Nor is any a client's that no packet could be from.
        let possible = match address {
            IpAddr::V4(address) => packet::ipv4_source(address.octets()),
            IpAddr::V6(address) => packet::ipv6_source(address.octets()),
        };
        possible.ok()
    }
}
