"""The bench: what a command costs here, beside other ways to have it carried out.

`cli` names the order of a run, `apart` gives each measure a process of its own, `report` shows and
keeps the figures. A module of `measures` holds one measure, `rivals` what it is measured against,
and `places` has the folders and servers where durable stores are measured.
"""
