"""New definitions as commented YAML: what `audience-syncs new` and `dg scaffold defs` both write.

commented       a model as YAML: every key with what it is, optional ones commented out
examples        what an optional key could say
definitions     the text of each kind
references      names of others, chosen from the project
mappings        the first mapping of a sync
insertion       a sync, put into an audience's file without touching the rest
files           where it goes; never over something that is there
"""

from audience_syncs.project.scaffolds.definitions import FOLDERS, Wishes, scaffold
from audience_syncs.project.scaffolds.files import place, problems_of
from audience_syncs.project.scaffolds.insertion import add_sync

__all__ = ["FOLDERS", "Wishes", "add_sync", "place", "problems_of", "scaffold"]
