"""criu's messages: as protoc encodes them, and back."""

from pyrun.checkpoint import rpc


def test_a_message_is_encoded_as_protoc_does():
    # printf 'type: DUMP opts { images_dir_fd: -1 pid: 300 external: "a" external: "b" leave_running: true }' |
    #     protoc --encode=criu_req rpc.proto | xxd -p
    options = rpc.encode(rpc.OPTIONS, {"images_dir_fd": -1, "pid": 300, "leave_running": True, "external": ["a", "b"]})
    request = rpc.encode(rpc.REQUEST, {"type": rpc.DUMP, "opts": options})

    assert request.hex() == "0801121808ffffffffffffffffff0110ac021801aa020161aa020162"


def test_an_answer_is_understood_with_fields_that_nobody_asked_for():
    # type: NOTIFY success: true notify { script: "post-restore" pid: 300 } cr_errmsg: "x", and a field 99 of each kind
    packet = bytes.fromhex("080610012a110a0c706f73742d726573746f726510ac024a017898060199060102030405060708")
    response = rpc.Response(packet + bytes.fromhex("9a0603616263" + "9d0601020304"))

    assert (response.type, response.success, response.message) == (rpc.NOTIFY, True, "x")
    assert (response.script, response.pid) == ("post-restore", 300)


def test_a_restored_container_has_the_pid_of_its_answer():
    assert rpc.Response(bytes.fromhex("08021001220308b960")).pid == 12345
