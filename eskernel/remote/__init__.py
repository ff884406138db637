"""What kernels have in common that span processes.

A *front* (`front`, `life`, `running`) has the methods of a Kernel. Its *router* tells to which
shard a command goes, and each shard has a *slot*, where calls wait and are kept until they are
answered, whichever process serves it just now. A slot sends by a *way*: a channel to a process, a
line to an actor. At the other end a *host* runs the requests on a kernel that was opened from the
front's *setup*. The *wire* is the form in which all that travels.
"""
