"""Errors for users: each message names what, where, how many and what to do.

Every error of ours that bad input can cause derives from `CannabisMLError`. The command line
prints its message alone and keeps the traceback for `kedro run --verbose`.
"""


class CannabisMLError(Exception):
    """An error that the user can fix."""


class ConfigError(CannabisMLError):
    """The configuration cannot be used, or not on this machine."""


class StorageError(CannabisMLError, OSError):
    """The disk is full, or what would be written does not fit on it."""


class PhotoError(CannabisMLError, TypeError, ValueError):
    """What was given to a model is not a photo in memory."""


class TaxonomyError(CannabisMLError):
    """The taxonomy contradicts itself, or labels are not in it."""


class EngineError(CannabisMLError):
    """A cluster cannot be reached, or its workers cannot do the work."""


class SourceError(CannabisMLError):
    """Photos or labels cannot be found or read at the given place."""


class WeightsError(CannabisMLError):
    """Pretrained weights cannot be had from any configured source."""


class TrainingError(CannabisMLError):
    """Training cannot start, or had to stop."""


class ExportError(CannabisMLError):
    """An exported model is not the model that was trained."""


class CalibrationError(CannabisMLError):
    """A model file cannot be calibrated."""


class BundleError(CannabisMLError):
    """A bundle is incomplete, altered, or made for another version."""


class HubError(CannabisMLError):
    """The Hugging Face hub cannot be reached, or does not give or take what it is asked."""


class PublishingError(CannabisMLError):
    """Photos or a bundle cannot be published: a licence, a version, or what the report says."""


class DeploymentError(CannabisMLError):
    """A bundle cannot be deployed, or the folder of deployments cannot be read or changed."""


class PromotionError(CannabisMLError):
    """A bundle cannot be made champion, or there is none to go back to."""


class PhotoSetError(CannabisMLError):
    """A set of photos cannot be written or read."""


class CheckpointError(CannabisMLError):
    """A file is not a sound checkpoint."""


class FeedbackError(CannabisMLError):
    """The store of feedback cannot be opened, read or written."""


class FeedbackRefusedError(FeedbackError):
    """Feedback that is not taken in.

    Attributes:
        reasons: What is wrong, one sentence per fault; never the faulty value at length.
    """

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class UnknownPersonError(FeedbackError):
    """The store of feedback has nothing of a person."""


class UnknownSubmissionError(FeedbackError):
    """The store has no submission of this person under this key."""


class TierUnavailableError(CannabisMLError):
    """A tier cannot answer now; others may."""


class RoutingError(CannabisMLError):
    """No tier could answer a photo."""


class AssistantError(CannabisMLError):
    """A language model cannot be asked, or a run of questions had to stop."""
