//! What `tshark` shows: the trees of packets, read from PDML, which unlike its JSON keeps order and repetition.

/// An item of the tree of a packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    /// Of its field, such as `connectify.topic`; empty for an item that is only text.
    pub(crate) name: String,
    /// What a person reads.
    pub(crate) text: String,
    /// What a filter compares with.
    pub(crate) show: String,
    /// How many bytes it stands for, and which these are if it has a value.
    pub(crate) size: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) items: Vec<Self>,
}

impl Item {
    /// This item and all below it, in the order in which they are shown.
    pub(crate) fn all(&self) -> Vec<&Self> {
        [self].into_iter().chain(self.items.iter().flat_map(Self::all)).collect()
    }

    /// What a filter would compare with, of every field below with this name.
    pub(crate) fn shown(&self, name: &str) -> Vec<&str> {
        self.all().into_iter().filter(|item| item.name == name).map(|item| item.show.as_str()).collect()
    }

    /// The same of the first one, which there must be.
    #[track_caller]
    pub(crate) fn first(&self, name: &str) -> &str {
        self.shown(name).first().unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// Expert information: severity and what it says.
    pub(crate) fn complaints(&self) -> Vec<(&str, &str)> {
        let experts = self.all().into_iter().filter(|item| item.name == "_ws.expert");
        experts.map(|item| (item.first("_ws.expert.severity"), item.first("_ws.expert.message"))).collect()
    }

    /// Expert information of more than a note.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        // PI_WARN and PI_ERROR of Wireshark.
        let is_warning = |severity: &str| ["0x00600000", "0x00800000", "6291456", "8388608"].contains(&severity);
        self.complaints().into_iter().filter(|(severity, _)| is_warning(severity)).map(|(_, says)| says).collect()
    }
}

/// The packets of a capture, each as the protocols that are in it.
pub(crate) fn packets(pdml: &str) -> Vec<Vec<Item>> {
    let mut tags = pdml.split('<').skip(1).map(|tag| tag.split('>').next().unwrap_or_default());
    let mut packets = Vec::new();
    while let Some(tag) = tags.next() {
        if tag == "packet" {
            packets.push(items(&mut tags));
        }
    }
    packets
}

/// The items up to the tag that closes what is around them.
fn items<'a>(tags: &mut impl Iterator<Item = &'a str>) -> Vec<Item> {
    let mut items = Vec::new();
    while let Some(tag) = tags.next() {
        if tag.starts_with('/') {
            return items;
        }
        let (attributes, is_empty) = (tag.trim_end_matches('/'), tag.ends_with('/'));
        // Older versions show the numbers of booleans, newer ones words.
        let show = attribute(attributes, "show").unwrap_or_default();
        let show = ["False", "True"].iter().position(|word| *word == show).map_or(show, |number| number.to_string());
        items.push(Item {
            name: attribute(attributes, "name").filter(|name| name != "_ws.lua.text").unwrap_or_default(),
            text: attribute(attributes, "showname").unwrap_or_else(|| show.clone()),
            show,
            size: attribute(attributes, "size").and_then(|size| size.parse().ok()).unwrap_or_default(),
            // Of a field that is some bits of its bytes the value is that of the bits.
            bytes: unhex(
                &attribute(attributes, "unmaskedvalue").or(attribute(attributes, "value")).unwrap_or_default(),
            ),
            items: if is_empty { Vec::new() } else { self::items(tags) },
        });
    }
    panic!("the last element is not closed");
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(value.to_owned(), |text, (entity, c)| text.replace(entity, c)))
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len()).step_by(2).map_while(byte).collect()
}
