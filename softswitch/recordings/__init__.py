"""What is said in calls, in files: one for each talk, with both sides in stereo."""

from softswitch.recordings.copying import Copying
from softswitch.recordings.files import Finished, finish, remainders
from softswitch.recordings.keeper import Recording, Recordings

__all__ = ["Copying", "Finished", "Recording", "Recordings", "finish", "remainders"]
