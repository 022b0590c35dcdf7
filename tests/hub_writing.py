"""The writing half of the hub on this machine: repositories, large files, commits and tags."""

import base64
import hashlib
import json


class Writing:
    """Adds to a hub the calls that change repositories.

    A commit is atomic: all its changes are in it, or it is refused. Each names the commit that it
    follows, or follows the newest.
    """

    def __init__(self, hub):
        self.hub = hub
        repo = hub.repo_path
        hub.route("GET", "/api/whoami-v2", self.whoami)
        hub.route("POST", "/api/repos/create", self.create)
        hub.route("POST", "/api/validate-yaml", lambda _: {"errors": [], "warnings": []})
        hub.route("POST", f"{repo}/preupload/([^/]+)", self.preupload)
        hub.route("POST", r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch)
        hub.route("PUT", r"/lfs/(dataset|model)/([^/]+/[^/]+)/([0-9a-f]{64})", self.upload)
        hub.route("POST", r"/lfs/(dataset|model)/([^/]+/[^/]+)/verify", self.verify)
        hub.route("POST", f"{repo}/commit/([^/]+)", self.commit)
        hub.route("POST", f"{repo}/tag/([^/]+)", self.tag)
        hub.route("DELETE", f"{repo}/tag/([^/]+)", self.remove_tag)

    def whoami(self, request):
        self.hub.authorized(request)
        return {"type": "user", "name": "me", "fullname": "Me", "orgs": [], "auth": {}}

    def create(self, request):
        self.hub.authorized(request)
        told = request.json
        name = f"{told.get('organization') or 'me'}/{told['name']}"
        kind = told.get("type") or "model"
        address = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        with self.hub.lock:
            if (kind, name) in self.hub.repos:
                return self.hub.refused(409, "You already created this repo", {"url": address})
            place = self.hub.Repository(private=told.get("visibility") == "private")
            place.commit(name, "main", {".gitattributes": b"*.parquet filter=lfs\n"})
            self.hub.repos[kind, name] = place
        return {"url": address, "name": name}

    def preupload(self, request, kind, name, branch):
        self.hub.authorized(request)
        _, files = self.hub.files(request, kind, name, branch)
        return {"files": [self._upload_mode(one, files) for one in request.json["files"]]}

    def _upload_mode(self, one, files):
        large = self.hub.is_large(base64.b64decode(one["sample"]), one["size"])
        there = files.get(one["path"])
        return {
            "path": one["path"],
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            "oid": None if there is None else self.hub.oid_of(there),
        }

    def batch(self, request, kind, name):
        self.hub.authorized(request)
        kind = "dataset" if kind else "model"
        there = self.hub.repo(request, kind, name).objects
        address = f"{self.hub.url}/lfs/{kind}/{name}"
        objects = [self._upload(one, there, address) for one in request.json["objects"]]
        return {"transfer": "basic", "objects": objects}

    def _upload(self, one, there, address):
        """What the client has to do for a large file: nothing where it was uploaded already."""
        told = {"oid": one["oid"], "size": one["size"]}
        if one["oid"] in there:
            return told
        upload, verify = f"{address}/{one['oid']}", f"{address}/verify"
        return told | {"actions": {"upload": {"href": upload}, "verify": {"href": verify}}}

    def upload(self, request, kind, name, oid):
        if hashlib.sha256(request.body).hexdigest() != oid:
            return self.hub.refused(400, "the content has another hash")
        self.hub.repos[kind, name].objects[oid] = request.body
        return self.hub.Reply()

    def verify(self, request, kind, name):
        told = request.json
        if len(self.hub.repos[kind, name].objects.get(told["oid"], b"")) != told["size"]:
            return self.hub.refused(404, "the object is not there")
        return self.hub.Reply()

    def commit(self, request, kind, name, branch):
        self.hub.authorized(request)
        place = self.hub.repo(request, kind, name)
        header, *changes = [json.loads(line) for line in request.body.splitlines()]
        asked = header["value"]
        with self.hub.lock:
            if branch not in place.branches:
                raise self.hub.MissingError("RevisionNotFound", f"Invalid rev id: {branch}")
            parent = place.branches[branch]
            if asked.get("parentCommit", parent) != parent:
                return self.hub.refused(412, "A commit has happened since. Please refresh.")
            files = dict(place.commits[parent])
            for change in changes:
                refusal = self._change(files, place.objects, change["key"], change["value"])
                if refusal is not None:
                    return refusal
            new = place.commit(name, branch, files, asked["summary"])
        return {"commitOid": new, "commitUrl": f"{self.hub.url}/{name}/commit/{new}"}

    def _change(self, files, objects, what, value):
        """Carry out one line of a commit; returns the refusal where it cannot be."""
        path = value["path"]
        missing = self.hub.MissingError(
            "EntryNotFound", f"A file with this name doesn't exist: {path}"
        )
        if what == "file":
            files[path] = base64.b64decode(value["content"])
        elif what == "lfsFile":
            if value["oid"] not in objects:
                return self.hub.refused(400, f"{path}: its content was not uploaded")
            files[path] = objects[value["oid"]]
        elif what == "deletedFile":
            if files.pop(path, None) is None:
                raise missing
        elif what == "deletedFolder":
            below = [name for name in files if name.startswith(path.rstrip("/") + "/")]
            if not below:
                raise missing
            for name in below:
                del files[name]
        else:
            return self.hub.refused(400, f"unknown change: {what}")
        return None

    def tag(self, request, kind, name, revision):
        self.hub.authorized(request)
        target, _ = self.hub.files(request, kind, name, revision)
        with self.hub.lock:
            tags = self.hub.repos[kind, name].tags
            if request.json["tag"] in tags:
                return self.hub.refused(409, "Tag reference exists already")
            tags[request.json["tag"]] = target
        return self.hub.Reply()

    def remove_tag(self, request, kind, name, tag):
        self.hub.authorized(request)
        if self.hub.repo(request, kind, name).tags.pop(tag, None) is None:
            raise self.hub.MissingError("RevisionNotFound", f"no tag {tag}")
        return self.hub.Reply()
