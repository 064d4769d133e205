from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ViolatedStreamState(_message.Message):
    __slots__ = ("stream", "expected_state", "actual_state")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_STATE_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_STATE_FIELD_NUMBER: _ClassVar[int]
    stream: str
    expected_state: int
    actual_state: int
    def __init__(self, stream: _Optional[str] = ..., expected_state: _Optional[int] = ..., actual_state: _Optional[int] = ...) -> None: ...

class ConsistencyViolation(_message.Message):
    __slots__ = ("check_index", "stream_state")
    CHECK_INDEX_FIELD_NUMBER: _ClassVar[int]
    STREAM_STATE_FIELD_NUMBER: _ClassVar[int]
    check_index: int
    stream_state: ViolatedStreamState
    def __init__(self, check_index: _Optional[int] = ..., stream_state: _Optional[_Union[ViolatedStreamState, _Mapping]] = ...) -> None: ...

class AppendConsistencyViolationErrorDetails(_message.Message):
    __slots__ = ("violations",)
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    violations: _containers.RepeatedCompositeFieldContainer[ConsistencyViolation]
    def __init__(self, violations: _Optional[_Iterable[_Union[ConsistencyViolation, _Mapping]]] = ...) -> None: ...
