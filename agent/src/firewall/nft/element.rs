//! One element of a set, put in place and taken away: what a knock costs.
//!
//! A transaction that fails waits until no packet is looked at under the old rules
//! (`nf_tables_abort`, synchronize_rcu): tens of milliseconds. So nothing here is tried that
//! may fail in the ordinary course of things.

use super::connection::{Connection, ElementChange, Failure, Term};
use super::dump::term;
use super::request::{self, ElementKey};

impl<'c> ElementChange<'c> {
    /// What adds an element, in place of an older one.
    ///
    /// An element's timeout cannot be changed before Linux 6.12: deleting it and adding it is
    /// one step for whoever looks it up. Deleting what is not there fails, hence the first.
    pub(crate) const fn renewing(
        set: &'c [&'c str],
        key: ElementKey<'c>,
        lasting: Term,
    ) -> [Self; 3] {
        [
            Self::Add(set, key, lasting),
            Self::Delete(set, key),
            Self::Add(set, key, lasting),
        ]
    }
}

impl Connection {
    /// Adds an element, in place of an older one.
    pub(crate) fn renew(
        &mut self,
        set: &[&str],
        key: ElementKey<'_>,
        lasting: Term,
    ) -> Result<(), Failure> {
        self.apply(&ElementChange::renewing(set, key, lasting))
    }

    /// Adds an element, or lets one that is there stay at least as long.
    ///
    /// The ordinary case, that it is not there, takes one request and one answer: what was
    /// there is told by the transaction that replaces it. Only an element that had more time
    /// left takes a second one, and has less time left for the microseconds in between.
    pub(crate) fn prolong(
        &mut self,
        set: &[&str],
        key: ElementKey<'_>,
        lasting: Term,
    ) -> Result<(), Failure> {
        if let Some(replaced) = self.replace(set, key, lasting)? {
            return match replaced.filter(|before| *before > lasting) {
                Some(before) => self.renew(set, key, before),
                None => Ok(()),
            };
        }
        let before = match self.term(set, key) {
            Err(failure) if failure.number() == Some(libc::ENOENT) => None,
            before => Some(before?),
        };
        self.renew(
            set,
            key,
            before.map_or(lasting, |before| before.max(lasting)),
        )
    }

    /// Deletes an element: whether it was there. ENOENT may mean that the set was not, either.
    pub(crate) fn take(&mut self, set: &[&str], key: ElementKey<'_>) -> Result<bool, Failure> {
        if let Some(taken) = self.destroy(&[
            ElementChange::Nothing(set),
            ElementChange::Destroy(set, key),
        ])? {
            return Ok(taken.is_some());
        }
        self.term(set, key)?;
        self.apply(&[ElementChange::Delete(set, key)])
            .map(|()| true)
    }

    /// How long an element that was there would have stayed; no answer where the kernel
    /// cannot do this.
    fn replace(
        &mut self,
        set: &[&str],
        key: ElementKey<'_>,
        lasting: Term,
    ) -> Result<Option<Option<Term>>, Failure> {
        self.destroy(&[
            ElementChange::Nothing(set),
            ElementChange::Destroy(set, key),
            ElementChange::Add(set, key, lasting),
        ])
    }

    /// Applies changes, the second of which is [`ElementChange::Destroy`], and tells what it
    /// destroyed; no answer where the kernel does not know it, which it is asked once only.
    fn destroy(&mut self, changes: &[ElementChange<'_>]) -> Result<Option<Option<Term>>, Failure> {
        if !self.destroys {
            return Ok(None);
        }
        let mut destroyed = None;
        let applied = self.apply_telling(changes, &mut |told| destroyed = destroyed.or(term(told)));
        match applied {
            Ok(()) => Ok(Some(destroyed)),
            // nfnetlink_rcv_batch's answer to a message that it has no function for.
            Err(Failure::Refused {
                position: 2,
                number: libc::EINVAL,
                ..
            }) => {
                self.destroys = false;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// How long an element stays; ENOENT: it is not there, or the set is not.
    pub(crate) fn term(&mut self, set: &[&str], key: ElementKey<'_>) -> Result<Term, Failure> {
        let element = |to: &mut Vec<u8>| request::element(to, set, key, None);
        self.ask(libc::NFT_MSG_GETSETELEM, &element, term)
    }
}
