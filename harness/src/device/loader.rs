//! Loads texts: as images where the device has them, else as PTX.

use super::images::Images;
use super::machine::{Machine, Text};
use super::{Code, DeviceError, Loads, NoImage, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of image modules that stay loaded. If kernels are loaded module by module, each
/// module is loaded once.
const KEPT: usize = 4;

/// The state that the loads of a device share.
#[derive(Debug, Default)]
pub(super) struct Loader {
    images: Option<Arc<Images>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loads: Loads,
    last: Option<Code>,
    /// Modules of images, the most recent one last.
    kept: VecDeque<(usize, Kept)>,
    /// Modules that the driver does not take, and why.
    refused: HashMap<usize, String>,
}

/// A module of images that was read.
#[derive(Clone, Debug)]
enum Kept {
    Loaded(Arc<Handle>),
    /// Read by the emulator, which runs the text itself.
    Read,
}

/// A loaded module, shared until its last user is gone.
#[derive(Debug)]
pub(super) struct Handle {
    pub machine: Arc<dyn Machine>,
    pub module: u64,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.machine.unload(self.module);
    }
}

/// Why a machine did not load an image.
#[derive(Debug)]
pub(super) enum ImageError {
    /// The image is not for it; the text may be.
    Refused(String),
    /// Loading failed.
    Failed(DeviceError),
}

impl Loader {
    pub fn new(images: Option<Arc<Images>>) -> Self {
        Self {
            images,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is inside is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn images(&self) -> Option<&Arc<Images>> {
        self.images.as_ref()
    }

    pub fn loads(&self) -> Loads {
        self.state().loads.clone()
    }

    pub fn last(&self) -> Option<Code> {
        self.state().last.clone()
    }

    /// Loads a text whose entries are `entries`.
    ///
    /// # Errors
    /// If the device refuses both image and text, or the file of the image has changed.
    pub fn load(
        &self,
        machine: &Arc<dyn Machine>,
        text: &Text,
        entries: &[&str],
    ) -> Result<(Arc<Handle>, Code)> {
        let (loaded, code) = match self.image(machine, text.ptx, entries)? {
            Ok(Kept::Loaded(handle)) => (Some(handle), Code::Image),
            Ok(Kept::Read) => (None, Code::Image),
            Err(why) => (None, Code::Ptx { why }),
        };
        let handle = match loaded {
            Some(handle) => handle,
            None => Arc::new(Handle {
                module: machine.load(text)?,
                machine: machine.clone(),
            }),
        };
        let mut state = self.state();
        state.loads.count(text.name, &code);
        state.last = Some(code.clone());
        Ok((handle, code))
    }

    /// The image of a text, or why there is none.
    fn image(
        &self,
        machine: &Arc<dyn Machine>,
        ptx: &str,
        entries: &[&str],
    ) -> Result<Result<Kept, NoImage>> {
        let Some(images) = &self.images else {
            return Ok(Err(NoImage::NoImages));
        };
        if let Err(why) = images.fit(machine.properties()) {
            return Ok(Err(why));
        }
        let Some(module) = images.module_of(ptx) else {
            return Ok(Err(NoImage::NotInImages));
        };
        // Held meanwhile: two threads that ask for one module load it once.
        let mut state = self.state();
        if let Some(reason) = state.refused.get(&module) {
            return Ok(Err(NoImage::Refused(reason.clone())));
        }
        let kept = match state.take(module) {
            Some(kept) => Ok(kept),
            None => match machine.load_image(&images.image(module)?) {
                None => Ok(Kept::Read),
                Some(Ok(module)) => Ok(Kept::Loaded(Arc::new(Handle {
                    machine: machine.clone(),
                    module,
                }))),
                Some(Err(ImageError::Refused(reason))) => Err(reason),
                Some(Err(ImageError::Failed(error))) => return Err(error),
            },
        };
        let kept = kept.and_then(|kept| match &kept {
            Kept::Loaded(handle) => has_all(handle, entries).map(|()| kept),
            Kept::Read => Ok(kept),
        });
        Ok(match kept {
            Ok(kept) => {
                state.keep(module, kept.clone());
                Ok(kept)
            }
            Err(reason) => {
                state.refused.insert(module, reason.clone());
                Err(NoImage::Refused(reason))
            }
        })
    }
}

impl State {
    /// Takes out a kept module.
    fn take(&mut self, module: usize) -> Option<Kept> {
        let at = self.kept.iter().position(|(kept, _)| *kept == module)?;
        self.kept.remove(at).map(|(_, kept)| kept)
    }

    /// Keeps a module as the most recent one, and drops the oldest.
    fn keep(&mut self, module: usize, kept: Kept) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((module, kept));
    }
}

/// Whether the image has the entries of the text, as its index says.
fn has_all(handle: &Handle, entries: &[&str]) -> Result<(), String> {
    entries.iter().try_for_each(|entry| {
        let found = handle.machine.kernel(handle.module, entry);
        found.map_or_else(
            |error| Err(format!("`{entry}` is not in it: {error}")),
            |_| Ok(()),
        )
    })
}
