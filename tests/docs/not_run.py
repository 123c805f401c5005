"""What stands in a code block and is run by no test: how it begins, and why.

Commands of glassmap are parsed all the same.
"""

NOT_RUN = {
    "make": "sets up an environment, or runs all tests",
    "pip": "needs a network",
    "python examples/made_up_scans.py": "the folder that pages find is made by it, with fewer points",
    "python -m tests.benchmarks": "takes minutes to hours on measured data; tests/benchmarks has tests of its own",
    "glassmap up": "runs until it is stopped; tests/flows/services start it",
    "glassmap serve-api": "runs until it is stopped; tests/flows/services serve a campaign",
    "import json\nimport time\nfrom urllib": "asks a server; tests/flows/services run it against one",
    "curl": "asks a server; tests/flows/services ask it the same",
    "glassmap dashboard": "runs until it is stopped; tests/dashboard start it",
    "glassmap status campaigns/co-v-zr --watch": "runs until it is stopped",
    "glassmap simulate": "LAMMPS takes half a minute; tests/simulation run it on few atoms",
    "glassmap sweep": "LAMMPS takes hours; tests/simulation run it on few atoms",
    "export": "sets the shell's environment, for services that no test starts from a page",
    "prefect": "needs a Prefect server",
    "dask": "needs several machines; tests/flows/compute start a cluster on one",
    "openssl": "makes certificates for several machines",
    "for who in": "makes certificates for several machines",
    "docker": "needs Docker",
    "jupyter": "opens a browser; tests/docs/test_notebook.py runs the notebook",
}
