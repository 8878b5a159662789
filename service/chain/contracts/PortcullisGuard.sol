// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A lock for Safes: transaction guard (Safe 1.3 on) and module guard (Safe 1.5 on) in one
/// @notice Armed, the guard only keeps itself in place: no delegatecall, and of the Safe's own functions only those that
///         manage owners and disable modules. Locked, nothing leaves the Safe: no module acts, and only owner
///         management and the skipping of what a delay module holds back (`setTxNonce`) go on, carried by the guardian. Only the guardian locks and lifts; only the recovery address, which can
///         do nothing else, appoints another guardian. Owners leave the guard by announcing it LEAVE_DELAY before.
/// @dev One instance serves every Safe. It holds no immutables, so its code is the same everywhere and can be compared.
contract PortcullisGuard {
    uint256 public constant LEAVE_DELAY = 3 days;
    uint256 public constant LEAVE_WINDOW = 7 days;

    address public guardian;
    address public recovery;
    mapping(address safe => bool) public locked;
    mapping(address safe => uint256) public leaveFrom;

    event Locked(address indexed safe);
    event Lifted(address indexed safe);
    event LeaveAnnounced(address indexed safe, uint256 from);
    event GuardianAppointed(address indexed guardian);

    error OnlyGuardian();
    error OnlyRecovery();
    error ZeroAddress();
    error SafeIsLocked();
    error DelegatecallRefused();
    error FunctionRefused(bytes4 selector);
    error RefundRefused();

    constructor(address guardian_, address recovery_) {
        if (guardian_ == address(0) || recovery_ == address(0)) revert ZeroAddress();
        guardian = guardian_;
        recovery = recovery_;
    }

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert OnlyGuardian();
        _;
    }

    /// @notice Lets nothing leave `safe`, and takes back what its owners announced. Repeating it changes nothing.
    function lock(address safe) external onlyGuardian {
        locked[safe] = true;
        leaveFrom[safe] = 0;
        emit Locked(safe);
    }

    function lift(address safe) external onlyGuardian {
        locked[safe] = false;
        emit Lifted(safe);
    }

    /// @notice Called by a Safe: from LEAVE_DELAY on, for LEAVE_WINDOW, an armed guard lets everything pass.
    function announceLeave() external {
        leaveFrom[msg.sender] = block.timestamp + LEAVE_DELAY;
        emit LeaveAnnounced(msg.sender, leaveFrom[msg.sender]);
    }

    function appoint(address guardian_) external {
        if (msg.sender != recovery) revert OnlyRecovery();
        if (guardian_ == address(0)) revert ZeroAddress();
        guardian = guardian_;
        emit GuardianAppointed(guardian_);
    }

    /// @dev Safe's ITransactionGuard; `msg.sender` is the Safe and `executor` who called it. A gas refund is a payment.
    function checkTransaction(
        address to,
        uint256 value,
        bytes memory data,
        uint8 operation,
        uint256,
        uint256,
        uint256 gasPrice,
        address,
        address payable,
        bytes memory,
        address executor
    ) external view {
        if (locked[msg.sender]) {
            bool skips = bytes4(data) == 0x46ba2307 && value == 0; // setTxNonce(uint256)
            if (executor != guardian || (to != msg.sender && !skips)) revert SafeIsLocked();
            if (gasPrice != 0) revert RefundRefused();
        } else if (_mayLeave(msg.sender)) {
            return;
        }
        _keepInPlace(to, data, operation);
    }

    /// @dev Safe's IModuleGuard; `msg.sender` is the Safe.
    function checkModuleTransaction(address to, uint256, bytes memory data, uint8 operation, address)
        external
        view
        returns (bytes32)
    {
        if (locked[msg.sender]) revert SafeIsLocked();
        if (!_mayLeave(msg.sender)) _keepInPlace(to, data, operation);
        return bytes32(0);
    }

    function checkAfterExecution(bytes32, bool) external view {}

    function checkAfterModuleExecution(bytes32, bool) external view {}

    /// @dev ERC-165: itself, ITransactionGuard, IModuleGuard.
    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0xe6d7a83a || id == 0x58401ed8;
    }

    function _mayLeave(address safe) private view returns (bool) {
        uint256 from = leaveFrom[safe];
        return from != 0 && block.timestamp >= from && block.timestamp < from + LEAVE_WINDOW;
    }

    /// @dev An empty call to itself, by which Safes use up a nonce, is allowed; every function not listed is refused.
    function _keepInPlace(address to, bytes memory data, uint8 operation) private view {
        if (operation != 0) revert DelegatecallRefused();
        if (to != msg.sender || data.length == 0) return;
        bytes4 selector = bytes4(data);
        if (
            selector != 0x0d582f13 && // addOwnerWithThreshold(address,uint256)
            selector != 0xf8dc5dd9 && // removeOwner(address,address,uint256)
            selector != 0xe318b52b && // swapOwner(address,address,address)
            selector != 0x694e80c3 && // changeThreshold(uint256)
            selector != 0xe009cfde // disableModule(address,address)
        ) revert FunctionRefused(selector);
    }
}
