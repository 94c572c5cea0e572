//! Where named tasks are found.

use std::path::Path;

use crate::checkpoint::hub;
use crate::embedded;
use crate::task::DataSources;

/// The directory first, if there is one, then the hub.
pub fn data_sources(data_dir: Option<&Path>) -> DataSources<'_> {
    DataSources {
        data_dir,
        embedded: embedded::TASK,
        hub_file: &|repository, file| Ok(hub::dataset_file(repository, file)?),
    }
}
