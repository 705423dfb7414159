//! Which APIs there are, and which versions of them a Kafka 4.3.1 broker serves.

include!(concat!(env!("OUT_DIR"), "/api_table.rs"));

/// One API as Kafka 4.3.1 serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// Its name, `Fetch`.
    pub name: &'static str,
    /// The oldest version answered.
    pub version_min: i16,
    /// The newest version answered.
    pub version_max: i16,
    /// The newest version that can be decoded: above [`Api::version_max`] where Kafka's newest is not stable yet.
    pub version_max_decoded: i16,
    /// The first version with compact lengths and tagged fields.
    pub flexible_from: Option<i16>,
}

impl Api {
    /// Every API, by ascending key.
    #[must_use]
    pub fn all() -> &'static [Self] {
        TABLE
    }

    /// The oldest version to announce in ApiVersions. Kafka announces Produce from 0 although it answers from 3:
    /// librdkafka before 2.11.1 looks for exactly version 2 to tell what a broker can do (KAFKA-18659).
    #[must_use]
    pub fn version_min_advertised(&self) -> i16 {
        if self.key == ApiKey::Produce { 0 } else { self.version_min }
    }

    /// Whether a request of this version is answered.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        self.version_min <= version && version <= self.version_max
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| from <= version)
    }

    /// The version of the header before a request of `version`: 2 has tagged fields, 1 has not.
    #[must_use]
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before the response: 1 has tagged fields, 0 has not. ApiVersions always has 0: its
    /// reader does not know yet what the other side speaks (KIP-511).
    #[must_use]
    pub fn response_header_version(&self, version: i16) -> i16 {
        if self.key != ApiKey::ApiVersions && self.is_flexible(version) { 1 } else { 0 }
    }
}

impl ApiKey {
    /// The API with this number; `None` for one that a Kafka 4.3.1 broker does not serve.
    #[must_use]
    pub fn from_wire(key: i16) -> Option<Self> {
        TABLE.binary_search_by_key(&key, |api| api.key as i16).ok().map(|index| TABLE[index].key)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Its row in the table.
    #[must_use]
    pub fn api(self) -> &'static Api {
        let index = TABLE.binary_search_by_key(&self, |api| api.key).expect("the table has a row per key");
        &TABLE[index]
    }

    /// Kafka's name, `Fetch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.api().name
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
