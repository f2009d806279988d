//! One table in place of another, as one datagram: what it asks for, in which order.

use super::dump::{KernelChain, KernelCounter, KernelSet};
use super::message::{COUNTER, Element, Entry, Gone, Lasting, MOST_ELEMENTS, New, Renderer};
use super::object::{Feature, Object};
use super::request::{self, Request};
use super::{lowering, nfta};
use crate::collect::CollectVec;
use crate::firewall::table::model::{Chain, Set, Table};
use crate::firewall::table::names::{TABLE, is_hooked};
use crate::netlink::codec;

/// An element that a set had before, and shall have again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The index of the set in the table.
    pub(crate) set: usize,
    /// The key, as the kernel has it.
    pub(crate) key: Vec<u8>,
    /// How long it lasts; `None`: it stays.
    pub(crate) lasting: Option<Lasting>,
}

/// One transaction, in one datagram.
pub(crate) struct Batch {
    /// The messages; only the last object asks for an acknowledgement.
    pub(crate) octets: Vec<u8>,
    /// What each message is about, by its distance from the first sequence number.
    pub(crate) objects: Vec<Object>,
}

/// Whether a table is the socket's own, of which a table can make a beginning only when it is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ownership {
    /// That of the older table, or of the new one where there is none.
    pub(crate) old: bool,
    /// That of the new one.
    pub(crate) new: bool,
}

/// What an older table is made of, if it can be taken apart: chains, sets and counters, nothing
/// else.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Its chains, those that packets enter among them.
    pub(crate) chains: Vec<KernelChain>,
    /// Its sets and maps.
    pub(crate) sets: Vec<KernelSet>,
    /// Its counters.
    pub(crate) counters: Vec<String>,
}

/// What the older table had that the new one shall have again.
#[derive(Debug, Default)]
pub(crate) struct Heritage {
    /// Elements of sets.
    pub(crate) elements: Vec<Kept>,
    /// Counters.
    pub(crate) counters: Vec<KernelCounter>,
}

/// The transaction that puts this table in place of any older one, or what cannot be written.
///
/// Without the parts of the older one it deletes that as a whole, which lets packets pass for
/// a moment. It is void if the rules of the namespace are no longer of this generation.
pub(crate) fn replacement(
    renderer: &mut dyn Renderer,
    table: &Table,
    heritage: &Heritage,
    sequence: u32,
    generation: Option<u32>,
    owned: Ownership,
    old: Option<&Parts>,
) -> Result<Batch, Object> {
    let mut writer = Writer::new(renderer, sequence, generation);
    writer.make(&New::Table { owned: owned.old }, Object::Table)?;
    match old {
        Some(old) => writer.take_apart(old),
        // Deleting what is not there fails, adding what is there does not.
        None => {
            writer.delete(Gone::Table, Object::Table);
            writer.make(&New::Table { owned: owned.new }, Object::Table)?;
        }
    }
    for chain in &table.chains {
        writer.make(&New::Chain(chain), Object::Chain(chain.name.clone()))?;
    }
    for name in &table.counters {
        let mut old = heritage.counters.iter();
        let same = old.find(|counter| counter.name == *name);
        let counted = same.map(|counter| counter.counted).unwrap_or_default();
        let object = Object::Counter(name.clone());
        writer.make(&New::Counter(name, counted), object)?;
    }
    for (id, set) in (1..).zip(&table.sets) {
        let object = Object::Set(set.name.clone());
        let set = lowering::new_set(set, id).ok_or_else(|| object.clone())?;
        writer.make(&New::Set(set), object)?;
    }
    for (index, set) in table.sets.iter().enumerate() {
        writer.fill(set, &mut *lowering::elements(&set.content))?;
        let kept = heritage.elements.iter().filter(|kept| kept.set == index);
        writer.fill(set, &mut kept.map(Kept::element))?;
    }
    // Where packets enter comes last: the kernel follows every way from there.
    for hooked in [false, true] {
        let chains = table.chains.iter();
        for chain in chains.filter(|chain| chain.hook.is_some() == hooked) {
            writer.rules(chain)?;
        }
    }
    Ok(writer.finish())
}

/// The transaction that makes these, one after another.
#[cfg(test)]
pub(crate) fn making(renderer: &mut dyn Renderer, sequence: u32, news: &[New<'_>]) -> Batch {
    let mut writer = Writer::new(renderer, sequence, None);
    for new in news {
        writer.make(new, Object::Table).unwrap();
    }
    writer.finish()
}

impl Kept {
    fn element(&self) -> Element<'static> {
        Element {
            key: self.key.clone(),
            entry: Entry::Member(self.lasting),
        }
    }
}

struct Writer<'r> {
    renderer: &'r mut dyn Renderer,
    batch: Batch,
    sequence: u32,
    last: usize,
}

impl<'r> Writer<'r> {
    fn new(renderer: &'r mut dyn Renderer, sequence: u32, generation: Option<u32>) -> Self {
        let mut octets = Vec::new();
        request::begin(&mut octets, sequence, generation);
        let batch = Batch {
            octets,
            objects: vec![Object::Batch],
        };
        Self {
            renderer,
            batch,
            sequence,
            last: 0,
        }
    }

    fn make(&mut self, new: &New<'_>, object: Object) -> Result<(), Object> {
        if !new.fits() {
            return Err(object);
        }
        let (kind, flags) = new.kind();
        let sequence = self.next(object);
        request::request(
            &mut self.batch.octets,
            Request { kind, flags },
            sequence,
            |to| self.renderer.write(new, to),
        );
        Ok(())
    }

    fn delete(&mut self, gone: Gone<'_>, object: Object) {
        let ask = Request {
            kind: gone.kind(),
            flags: 0,
        };
        let sequence = self.next(object);
        request::request(&mut self.batch.octets, ask, sequence, |to| gone.write(to));
    }

    /// Begins a message about an object: its sequence number.
    fn next(&mut self, object: Object) -> u32 {
        self.last = self.batch.octets.len();
        let sequence = self.sequence.wrapping_add(self.batch.objects.len() as u32);
        self.batch.objects.push(object);
        sequence
    }

    /// Deletes everything but the table and the chains that packets enter.
    ///
    /// A packet that found such a chain before the commit, and looks at its rules after it,
    /// follows the rules of the new generation (`nft_do_chain`): a deleted chain has none, and
    /// would let the packet pass.
    fn take_apart(&mut self, old: &Parts) {
        self.delete(Gone::Rules, Object::Table);
        for set in &old.sets {
            self.delete(Gone::Set(&set.name), Object::Set(set.name.clone()));
        }
        for counter in &old.counters {
            self.delete(Gone::Counter(counter), Object::Counter(counter.clone()));
        }
        for chain in old.chains.iter().filter(|chain| !is_hooked(&chain.name)) {
            self.delete(Gone::Chain(&chain.name), Object::Chain(chain.name.clone()));
        }
    }

    fn fill<'t>(
        &mut self,
        set: &Set,
        elements: &mut dyn Iterator<Item = Element<'t>>,
    ) -> Result<(), Object> {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let some = elements.by_ref().take(MOST_ELEMENTS).collect_vec();
            let object = Object::Elements(set.name.clone());
            self.make(&New::Elements(&set.name, some), object)?;
        }
        Ok(())
    }

    fn rules(&mut self, chain: &Chain) -> Result<(), Object> {
        for (number, rule) in (1..).zip(&chain.rules) {
            let expressions = lowering::expressions(rule);
            let object = Object::Rule {
                number,
                chain: chain.name.clone(),
                needs: Feature::of(&expressions),
            };
            self.make(&New::Rule(&chain.name, expressions), object)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Batch {
        self.acknowledge_last();
        let sequence = self.sequence.wrapping_add(self.batch.objects.len() as u32);
        request::end(&mut self.batch.octets, sequence);
        self.batch
    }

    /// Hundreds of acknowledgements would overrun the socket; errors arrive without asking.
    fn acknowledge_last(&mut self) {
        let flags = self
            .batch
            .octets
            .get_mut(self.last + 6..)
            .and_then(|rest| rest.first_chunk_mut());
        if let Some(flags) = flags {
            *flags = (u16::from_ne_bytes(*flags) | libc::NLM_F_ACK as u16).to_ne_bytes();
        }
    }
}

impl Gone<'_> {
    const fn kind(self) -> i32 {
        match self {
            Self::Table => libc::NFT_MSG_DELTABLE,
            Self::Chain(_) => libc::NFT_MSG_DELCHAIN,
            Self::Set(_) => libc::NFT_MSG_DELSET,
            Self::Counter(_) => libc::NFT_MSG_DELOBJ,
            Self::Rules => libc::NFT_MSG_DELRULE,
        }
    }

    fn write(self, to: &mut Vec<u8>) {
        match self {
            Self::Table => codec::text(to, nfta::TABLE_NAME, &[TABLE]),
            Self::Chain(chain) => {
                codec::text(to, nfta::CHAIN_TABLE, &[TABLE]);
                codec::text(to, nfta::CHAIN_NAME, &[chain]);
            }
            Self::Set(set) => {
                codec::text(to, nfta::SET_TABLE, &[TABLE]);
                codec::text(to, nfta::SET_NAME, &[set]);
            }
            Self::Counter(counter) => {
                codec::text(to, nfta::OBJECT_TABLE, &[TABLE]);
                codec::text(to, nfta::OBJECT_NAME, &[counter]);
                codec::attribute(to, nfta::OBJECT_TYPE, &COUNTER.to_be_bytes());
            }
            Self::Rules => codec::text(to, nfta::RULE_TABLE, &[TABLE]),
        }
    }
}
