//! ApiVersions (KIP-35, KIP-511, KIP-584): what this node answers.

use std::borrow::Cow;
use std::rc::Rc;

use types::ErrorCode;
use wire::Api;
use wire::api_versions_request::ApiVersionsRequest;
use wire::api_versions_response::{ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// The features that nodes of this release know: name, lowest and highest level. Those whose features are not built
/// (transactions 2, KIP-848, share groups, ELR) are absent, as clients switch features on by them.
pub(crate) const FEATURES: [(&str, i16, i16); 2] = [("kraft.version", 0, 1), ("metadata.version", 7, 30)];

/// An API as it is announced.
pub(crate) fn row(api: &Api) -> ApiVersion {
    ApiVersion {
        api_key: api.key.code(),
        min_version: api.version_min_advertised(),
        max_version: api.version_max,
        ..ApiVersion::default()
    }
}

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: ApiVersionsRequest<'_> = request.decode()?;
    if request.version() >= 3 {
        let (name, version) = (&asked.client_software_name, &asked.client_software_version);
        if !(is_software_word(name) && is_software_word(version)) {
            let response =
                ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code(), ..ApiVersionsResponse::default() };
            return Ok(request.reply(&response));
        }
        request.connection.software.replace(Some((name.as_ref().into(), version.as_ref().into())));
    }
    let image = state.image();
    let response = ApiVersionsResponse {
        api_keys: Api::all().iter().filter(|api| super::is_built(api.key)).map(row).collect(),
        supported_features: FEATURES
            .iter()
            .map(|&(name, min_version, max_version)| SupportedFeatureKey {
                name: Cow::Borrowed(name),
                min_version,
                max_version,
                ..SupportedFeatureKey::default()
            })
            .collect(),
        finalized_features_epoch: image.position().end.value() - 1,
        finalized_features: image
            .features()
            .iter()
            .map(|(name, level)| FinalizedFeatureKey {
                name: Cow::Borrowed(name),
                max_version_level: *level,
                min_version_level: *level,
                ..FinalizedFeatureKey::default()
            })
            .collect(),
        ..ApiVersionsResponse::default()
    };
    Ok(request.reply(&response))
}

/// KIP-511's rule for a client's name and version: letters, digits, dots and dashes, starting and ending with a letter
/// or digit.
fn is_software_word(word: &str) -> bool {
    let (Some(first), Some(last)) = (word.bytes().next(), word.bytes().last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::is_software_word;

    #[test]
    fn software_words_follow_kip_511() {
        for good in ["apache-kafka-java", "4.3.1", "a", "kgo-1.20.0"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a_b", "ä"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
