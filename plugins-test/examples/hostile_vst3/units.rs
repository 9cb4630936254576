//! Units and their programs: of all plugins but one, none.

use vst3::Steinberg::Vst::{
    BusDirection, CString, IUnitInfoTrait, MediaType, ProgramListID, ProgramListInfo, String128,
    UnitID, UnitInfo, kNoProgramListId, kRootUnitId,
};
use vst3::Steinberg::{
    IBStream, int16, int32, kInvalidArgument, kNotImplemented, kResultFalse, kResultOk, tresult,
};

use crate::plugin::{PROGRAMS, Plugin};
use crate::text::wide;
use crate::what::What;

/// How many units there are beside the root, each with a list of programs of the same number.
const UNITS: int32 = 2;

impl<K> Plugin<K> {
    fn units(&self) -> int32 {
        if self.what == What::OddPrograms { UNITS } else { 0 }
    }
}

impl<K> IUnitInfoTrait for Plugin<K> {
    unsafe fn getUnitCount(&self) -> int32 {
        1 + self.units()
    }

    unsafe fn getUnitInfo(&self, index: int32, info: *mut UnitInfo) -> tresult {
        if !(0..=self.units()).contains(&index) {
            return kInvalidArgument;
        }
        let mut unit = UnitInfo {
            id: index,
            parentUnitId: if index == 0 { -1 } else { kRootUnitId },
            name: [0; _],
            programListId: if index == 0 { kNoProgramListId } else { index },
        };
        wide(&format!("Unit {index}"), &mut unit.name);
        // SAFETY: the host passes valid memory.
        unsafe { info.write(unit) };
        kResultOk
    }

    unsafe fn getProgramListCount(&self) -> int32 {
        self.units()
    }

    unsafe fn getProgramListInfo(&self, index: int32, info: *mut ProgramListInfo) -> tresult {
        if !(0..self.units()).contains(&index) {
            return kInvalidArgument;
        }
        let mut list =
            ProgramListInfo { id: index + 1, name: [0; _], programCount: PROGRAMS as int32 };
        wide(&format!("List {}", index + 1), &mut list.name);
        // SAFETY: the host passes valid memory.
        unsafe { info.write(list) };
        kResultOk
    }

    unsafe fn getProgramName(
        &self,
        list: ProgramListID,
        index: int32,
        name: *mut String128,
    ) -> tresult {
        if !(1..=self.units()).contains(&list) || !(0..PROGRAMS as int32).contains(&index) {
            return kInvalidArgument;
        }
        // SAFETY: the host passes valid memory.
        wide(&format!("{index} of 4"), unsafe { &mut *name });
        kResultOk
    }

    unsafe fn getProgramInfo(
        &self,
        _list: ProgramListID,
        _index: int32,
        _attribute: CString,
        _value: *mut String128,
    ) -> tresult {
        kNotImplemented
    }

    unsafe fn hasProgramPitchNames(&self, _list: ProgramListID, _index: int32) -> tresult {
        kResultFalse
    }

    unsafe fn getProgramPitchName(
        &self,
        _list: ProgramListID,
        _index: int32,
        _pitch: int16,
        _name: *mut String128,
    ) -> tresult {
        kNotImplemented
    }

    unsafe fn getSelectedUnit(&self) -> UnitID {
        kRootUnitId
    }

    unsafe fn selectUnit(&self, _unit: UnitID) -> tresult {
        kResultOk
    }

    /// The first channel is the first unit's, the second the second's.
    unsafe fn getUnitByBus(
        &self,
        _media: MediaType,
        _direction: BusDirection,
        bus: int32,
        channel: int32,
        unit: *mut UnitID,
    ) -> tresult {
        if bus != 0 || !(0..self.units()).contains(&channel) {
            return kResultFalse;
        }
        // SAFETY: the host passes valid memory.
        unsafe { unit.write(channel + 1) };
        kResultOk
    }

    unsafe fn setUnitProgramData(
        &self,
        _list_or_unit: int32,
        _index: int32,
        _data: *mut IBStream,
    ) -> tresult {
        kNotImplemented
    }
}
